//! How much was moved, in words. Pure.

use std::fmt;

/// What of an image was not there yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Layers that went over.
    pub layers: usize,
    /// Bytes that went over, as they are stored at the source: compressed where it keeps them compressed.
    pub bytes: u64,
    /// Bytes of the whole image, counted alike.
    pub of: u64,
}

impl Moved {
    /// Adds a layer.
    #[must_use]
    pub fn and_layer(self, bytes: u64) -> Self {
        Self {
            layers: self.layers + 1,
            bytes: self.bytes + bytes,
            ..self
        }
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.layers == 1 { "" } else { "s" };
        write!(
            f,
            "{} layer{plural}, {} of {}",
            self.layers,
            Bytes(self.bytes),
            Bytes(self.of)
        )
    }
}

/// Decimal units, two significant digits: `812 B`, `6.4 MB`, `41 MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1000.0;
        let mut units = ["kB", "MB", "GB"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        for larger in units {
            // 999.5 is shown as 1000
            if value < 999.5 {
                break;
            }
            value /= 1000.0;
            unit = larger;
        }
        if value < 9.95 {
            write!(f, "{value:.1} {unit}")
        } else {
            write!(f, "{value:.0} {unit}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_960, "10 kB"),
            (999_400, "999 kB"),
            (999_600, "1.0 MB"),
            (6_400_000, "6.4 MB"),
            (41_200_000, "41 MB"),
            (2_000_000_000_000, "2000 GB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn what_moved_is_a_few_words() {
        let moved = Moved {
            of: 41_000_000,
            ..Moved::default()
        };
        assert_eq!(moved.to_string(), "0 layers, 0 B of 41 MB");
        assert_eq!(
            moved.and_layer(6_400_000).to_string(),
            "1 layer, 6.4 MB of 41 MB"
        );
    }
}
