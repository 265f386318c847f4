//! The name of a counter.

use std::str::FromStr;

/// 1 to 128 letters, digits, dots, dashes and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterName(String);

/// Why a text is not a [`CounterName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a counter's name has 1 to {} of A-Z a-z 0-9 . _ -",
    CounterName::MAX_LENGTH
)]
pub struct NameError;

impl CounterName {
    /// How long a name may be.
    pub const MAX_LENGTH: usize = 128;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CounterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "page.views", "A_1-b", &"x".repeat(128)] {
            assert!(good.parse::<CounterName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(bad.parse::<CounterName>(), Err(NameError), "{bad}");
        }
    }
}
