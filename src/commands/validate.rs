//! `stackctl validate`: every check that needs no cluster.

use crate::settings::Place;
use crate::verify;

use super::prepare::desired;
use super::{CommandError, Env, Outcome};

/// Checks the files, the manifests and the smoke tests of an environment.
pub fn validate(place: &Place, env: &Env) -> Result<Outcome, CommandError> {
    let stack = place.load()?;
    let tests = verify::load(&stack, &place.services).map_err(CommandError::from);
    let desired = desired(place, env);
    match (desired, tests) {
        (Ok(desired), Ok(tests)) => Ok(Outcome::Validated(Validated {
            services: desired.stack.services.len(),
            objects: desired.objects.len(),
            checks: tests.suites.iter().map(|suite| suite.checks.len()).sum(),
        })),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(mut error), Err(more)) => {
            error.diagnostics.extend(more.diagnostics);
            Err(error)
        }
    }
}

/// What was found to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validated {
    /// Services of the stack.
    pub services: usize,
    /// Rendered objects.
    pub objects: usize,
    /// Checks of smoke tests.
    pub checks: usize,
}
