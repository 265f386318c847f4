//! What an image runs on.

mod select;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use select::select_platform;

/// As Go names operating systems and processors: `linux/amd64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v7`, `v8`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub variant: Option<String>,
}

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no platform: write it as linux/amd64")]
pub struct InvalidPlatform(pub String);

impl Platform {
    /// Linux on this processor.
    #[must_use]
    pub fn linux(architecture: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: None,
        }
    }

    /// Whether an image for this platform is one for `wanted`: the variants every processor of the family has need not
    /// be named, and who names no variant takes any.
    #[must_use]
    pub fn runs_on(&self, wanted: &Self) -> bool {
        (&self.os, &self.architecture) == (&wanted.os, &wanted.architecture)
            && (wanted.variant.is_none() || self.own_variant() == wanted.own_variant())
    }

    fn own_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("amd64", Some("v1")) | ("arm64", Some("v8")) => None,
            ("arm", None) => Some("v7"),
            (_, variant) => variant,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let legal = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(legal) {
            return Err(InvalidPlatform(text.to_owned()));
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err(InvalidPlatform(text.to_owned())),
        };
        Ok(Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_that_every_processor_has_need_no_name() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        for (image, wanted, runs) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64/v1", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v1", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm64", "linux/amd64", false),
            ("windows/amd64", "linux/amd64", false),
        ] {
            assert_eq!(
                platform(image).runs_on(&platform(wanted)),
                runs,
                "{image} {wanted}"
            );
        }
    }

    #[test]
    fn text_and_platform_are_the_same_thing() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "amd64", "linux/", "linux/amd64/v1/x", "Linux/amd64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
