//! The name of a user.

use std::fmt;
use std::str::FromStr;

/// 1 to 64 letters from A to Z, in either case. `Ada` and `ada` are two users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User(String);

/// Why a text is not a [`User`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// It has something else than letters in it, or nothing.
    #[error("a user's name has letters from A to Z only")]
    NotLetters,
    /// It is too long.
    #[error("a user's name has at most {} letters", User::MAX_LENGTH)]
    TooLong,
}

impl User {
    /// How many letters a name may have.
    pub const MAX_LENGTH: usize = 64;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for User {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(UserError::NotLetters);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(UserError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!("Ada".parse::<User>().is_ok());
        assert!("x".repeat(64).parse::<User>().is_ok());
        assert_eq!("x".repeat(65).parse::<User>(), Err(UserError::TooLong));
        for bad in ["", "ada1", "ada lovelace", "Zoë", "a-b", "a/b", "%41"] {
            assert_eq!(bad.parse::<User>(), Err(UserError::NotLetters), "{bad}");
        }
    }
}
