//! Names, checked once where they come in.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: {reason}")]
pub struct InvalidName {
    /// Such as `service name`.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
    /// The rule it breaks.
    pub reason: &'static str,
}

/// Kubernetes' rule for names of Services and namespaces (RFC 1123 label that starts with a letter).
fn dns_label(text: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 63 {
        Err("it must have 1 to 63 characters")
    } else if !text.chars().all(allowed) {
        Err("only a-z, 0-9 and - may stand in it")
    } else if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        Err("it must start with a letter")
    } else if text.ends_with('-') {
        Err("it must not end with -")
    } else {
        Ok(())
    }
}

/// Names of ports are at most 15 characters (RFC 6335).
fn port_name(text: &str) -> Result<(), &'static str> {
    if text.len() > 15 {
        return Err("a port's name has at most 15 characters");
    }
    dns_label(text)
}

/// What a shell can export (POSIX, section 8.1), lower case included.
fn variable_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) {
        Err("it must start with a letter or _")
    } else if !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Err("only letters, digits and _ may stand in it")
    } else {
        Ok(())
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $rule:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                match $rule(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(reason) => Err(InvalidName { kind: $kind, text: text.to_owned(), reason }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// What a stack is called.
    StackName, "stack name", dns_label;
    /// A place the stack runs in: the name of its file in `environments/`.
    EnvName, "environment name", dns_label;
    /// A service of the stack; also the name of its Kubernetes objects.
    ServiceName, "service name", dns_label;
    /// A Kubernetes namespace.
    Namespace, "namespace", dns_label;
    /// A container port's name.
    PortName, "port name", port_name;
    /// A volume of a service.
    VolumeName, "volume name", dns_label;
    /// A secret of an environment.
    SecretName, "secret name", dns_label;
    /// An environment variable.
    VariableName, "variable name", variable_name;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kubernetes() {
        for good in ["a", "hits-api", "x1"] {
            assert_eq!(good.parse::<ServiceName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "1a", "A", "a_b", "a.b", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
        assert!("a-port-name-that-is-long".parse::<PortName>().is_err());
        assert_eq!(
            "Web".parse::<ServiceName>().unwrap_err().to_string(),
            "`Web` is not a valid service name: only a-z, 0-9 and - may stand in it"
        );
        assert!("DATABASE_URL".parse::<VariableName>().is_ok());
        assert!("DATABASE-URL".parse::<VariableName>().is_err());
    }
}
