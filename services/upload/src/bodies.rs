//! Places for bodies that are being received: each is held in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use service_kit::ClientAddress;

use crate::routes::refused::Refused;

/// How many bodies are held in memory at once; more are turned away.
const ALL: usize = 16;
/// How many of them are of one client: one alone does not keep all others out.
const OF_ONE: usize = 8;

/// The places. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bodies(Arc<Mutex<HashMap<ClientAddress, usize>>>);

/// A place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    bodies: Bodies,
    client: ClientAddress,
}

impl Bodies {
    /// A place for a body of `client`, if there is one.
    pub(crate) fn place(&self, client: ClientAddress) -> Result<Place, Refused> {
        let mut taken = self.taken();
        if taken.values().sum::<usize>() >= ALL {
            return Err(Refused::ManyBodies);
        }
        let own = taken.entry(client).or_default();
        if *own >= OF_ONE {
            return Err(Refused::ManyOfOne);
        }
        *own += 1;
        Ok(Place {
            bodies: self.clone(),
            client,
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<ClientAddress, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.bodies.taken();
        let own = taken.remove(&self.client).unwrap_or_default();
        if own > 1 {
            taken.insert(self.client, own - 1);
        }
    }
}
