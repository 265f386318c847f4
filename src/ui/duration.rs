//! How long something took, as people read it.

use std::time::Duration;

/// `40 ms`, `1.2 s`, `3 min 20 s`.
pub(super) fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 100 {
        format!("{milliseconds} ms")
    } else if duration.as_secs() < 100 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!(
            "{} min {} s",
            duration.as_secs() / 60,
            duration.as_secs() % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (milliseconds, text) in [
            (0, "0 ms"),
            (99, "99 ms"),
            (100, "0.1 s"),
            (61_240, "61.2 s"),
            (200_000, "3 min 20 s"),
        ] {
            assert_eq!(show(Duration::from_millis(milliseconds)), text);
        }
    }
}
