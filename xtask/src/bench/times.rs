//! Measured times, and the figures made of them.

use std::time::Duration;

/// Times in milliseconds, sorted. A difference of two may be negative.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Times(Vec<f64>);

impl Times {
    /// `None` where nothing was measured.
    pub(super) fn new(mut times: Vec<f64>) -> Option<Self> {
        times.sort_unstable_by(f64::total_cmp);
        (!times.is_empty()).then_some(Self(times))
    }

    pub(super) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    pub(super) fn min(&self) -> f64 {
        self.0[0]
    }

    pub(super) fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }
}

/// In milliseconds.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sorted_whatever_came_first() {
        let times = Times::new(vec![30.0, -8.0, 12.0]).expect("there are three");
        assert_eq!(
            (times.min(), times.median(), times.max()),
            (-8.0, 12.0, 30.0)
        );
        assert_eq!(Times::new(Vec::new()), None);
    }
}
