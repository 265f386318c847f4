//! Which consumers of the group live. Pure.
//!
//! Redis before 7.2 does not know when a consumer was last heard of, but which clients are connected: a process that
//! is killed is gone from that list at once, one whose machine vanishes when its client has been idle for too long.
//! Each consumer gives its connections its own name.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// A client that has not said anything for so long does not live. It says something several times a second.
const LONGEST_SILENCE_SECONDS: u64 = 3;
/// After Redis was away, all have to connect again first.
const GRACE: Duration = Duration::from_secs(1);

/// Whom this consumer has not seen when it last looked.
#[derive(Debug, Default)]
pub(super) struct Peers {
    missing: HashSet<String>,
    /// When it began to look.
    since: Option<Instant>,
}

impl Peers {
    /// The consumers that are dead, out of all there are: those that are missing among the `clients` of Redis, as
    /// `CLIENT LIST` shows them, for the second time in a row. One that connects again just now is not among them.
    pub(super) fn dead(
        &mut self,
        consumers: &[String],
        clients: &str,
        now: Instant,
    ) -> Vec<String> {
        let since = *self.since.get_or_insert(now);
        let living: HashSet<&str> = clients.lines().filter_map(living).collect();
        let missing = consumers
            .iter()
            .filter(|name| !living.contains(name.as_str()));
        let missing: HashSet<String> = missing.cloned().collect();
        let before = std::mem::replace(&mut self.missing, missing);
        if now.duration_since(since) < GRACE {
            return Vec::new();
        }
        let mut dead: Vec<String> = self.missing.intersection(&before).cloned().collect();
        dead.sort();
        dead
    }

    /// Redis was away: nothing is known of the others.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The name of a client that lives, from its line of `CLIENT LIST`.
pub fn living(client: &str) -> Option<&str> {
    let field = |name: &str| {
        let mut fields = client.split(' ');
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let idle: u64 = field("idle")?.parse().ok()?;
    (idle < LONGEST_SILENCE_SECONDS).then(|| field("name"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: &str = "id=1 addr=127.0.0.1:4 name=a age=9 idle=0 flags=N\n\
                           id=2 addr=127.0.0.1:5 name=b age=9 idle=3 flags=b\n\
                           id=3 addr=127.0.0.1:6 name= age=9 idle=0 flags=N\n";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn who_is_missing_twice_is_dead() {
        let (mut peers, start) = (Peers::default(), Instant::now());
        let all = names(&["a", "b", "c"]);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(peers.dead(&all, CLIENTS, at(0)), names(&[]));
        // The others may still be connecting.
        assert_eq!(peers.dead(&all, CLIENTS, at(200)), names(&[]));
        assert_eq!(peers.dead(&all, CLIENTS, at(1000)), names(&["b", "c"]));
        let back = CLIENTS.replace("idle=3", "idle=2");
        assert_eq!(peers.dead(&all, &back, at(1200)), names(&["c"]));
        assert_eq!(peers.dead(&all, CLIENTS, at(1400)), names(&["c"]));
        assert_eq!(peers.dead(&all, CLIENTS, at(1600)), names(&["b", "c"]));
        peers.forget();
        assert_eq!(peers.dead(&all, CLIENTS, at(1800)), names(&[]));
    }
}
