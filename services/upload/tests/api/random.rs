//! Chance that can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// Vigna's splitmix64; the same seed gives the same numbers.
pub(crate) struct Random(u64);

impl Random {
    /// From `STACKCTL_TEST_SEED`, or the clock; says which.
    #[expect(clippy::print_stderr, reason = "a failure can be had again")]
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("STACKCTL_TEST_SEED").ok();
        let clock = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs()
        };
        let seed = given.map_or_else(clock, |seed| seed.parse().unwrap());
        eprintln!("STACKCTL_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
