//! Chance that can be repeated.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which seed to use.
const SEED: &str = "STACKCTL_TEST_SEED";

/// Vigna's splitmix64; the same seed gives the same numbers.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From `STACKCTL_TEST_SEED`, or the clock; says which.
    ///
    /// # Panics
    /// When the variable is no number.
    #[expect(clippy::print_stderr, reason = "a failure can be had again")]
    pub fn seeded() -> Self {
        let given = std::env::var(SEED).ok();
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = match given {
            Some(seed) => seed.parse().expect("the seed is a number"),
            None => clock().expect("it is after 1970").as_secs(),
        };
        eprintln!("{SEED}={seed}");
        Self(seed)
    }

    /// Another source, whose numbers follow from this one's.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A time below `limit`, which is not zero.
    pub fn moment(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros() as u64))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
