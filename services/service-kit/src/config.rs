//! Configuration from environment variables: typed, and with every fault
//! reported at once, so that a wrong manifest is corrected in one go.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Set in every pod.
const IN_KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// One environment variable: its name, what it must look like, how to read it.
///
/// Meant for constants, so that the variables of a service stand in one place:
///
/// ```
/// use service_kit::Variable;
/// use service_kit::config::parsed;
///
/// const WORKERS: Variable<u8> = Variable::new("N_WORKERS", "a number from 0 to 255", parsed);
/// ```
#[derive(Debug)]
pub struct Variable<T> {
    name: &'static str,
    expects: &'static str,
    secret: bool,
    parse: fn(&str) -> Option<T>,
}

/// Reads variables and remembers what was wrong with each.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
    faults: Vec<Fault>,
}

/// Stands for a variable whose fault has been noted. Only a [`Reader`] makes
/// one, so a configuration that could not be built always has its reasons.
#[derive(Debug)]
pub struct Unusable(());

/// Every variable that is missing or cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<Fault>,
}

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    name: &'static str,
    expects: &'static str,
    found: Found,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    NotUnicode,
    Value(String),
    Secret,
}

/// Builds a configuration out of the variables that `lookup` gives.
///
/// # Errors
/// Names every variable that `build` read and that was missing or unusable.
pub fn read<T>(
    lookup: &dyn Fn(&str) -> Option<OsString>,
    build: impl FnOnce(&mut Reader<'_>) -> Result<T, Unusable>,
) -> Result<T, ConfigError> {
    let mut reader = Reader {
        lookup,
        faults: Vec::new(),
    };
    match build(&mut reader) {
        Ok(value) if reader.faults.is_empty() => Ok(value),
        Ok(_) | Err(Unusable(())) => Err(ConfigError {
            faults: reader.faults,
        }),
    }
}

/// Parses with [`FromStr`]; for use in a [`Variable`].
pub fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Any text as it stands; for use in a [`Variable`].
pub fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Whole or fractional seconds from 0 to 3600; for use in a [`Variable`].
pub fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (0.0..=3600.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

impl<T> Variable<T> {
    /// A variable whose value may be shown. `expects` completes "expected …".
    pub const fn new(
        name: &'static str,
        expects: &'static str,
        parse: fn(&str) -> Option<T>,
    ) -> Self {
        Self {
            name,
            expects,
            secret: false,
            parse,
        }
    }

    /// A variable whose value holds a secret and is never shown.
    pub const fn secret(
        name: &'static str,
        expects: &'static str,
        parse: fn(&str) -> Option<T>,
    ) -> Self {
        Self {
            name,
            expects,
            secret: true,
            parse,
        }
    }

    fn fault(&self, found: Found) -> Fault {
        let found = match found {
            Found::Value(_) if self.secret => Found::Secret,
            other => other,
        };
        Fault {
            name: self.name,
            expects: self.expects,
            found,
        }
    }
}

impl Reader<'_> {
    /// The value of a variable that must be set.
    ///
    /// # Errors
    /// [`Unusable`] when it is missing, empty or does not parse.
    pub fn required<T>(&mut self, variable: &Variable<T>) -> Result<T, Unusable> {
        match self.optional(variable)? {
            Some(value) => Ok(value),
            None => self.reject(variable.fault(Found::Nothing)),
        }
    }

    /// The value of a variable that has to be set in Kubernetes; elsewhere none, where it is missing or empty, stands
    /// for a store of the service's own.
    ///
    /// # Errors
    /// [`Unusable`] when it does not parse, or is missing in Kubernetes.
    pub fn store<T>(&mut self, variable: &Variable<T>) -> Result<Option<T>, Unusable> {
        match (self.lookup)(IN_KUBERNETES) {
            Some(_) => self.required(variable).map(Some),
            None => self.optional(variable),
        }
    }

    /// The value of a variable, or `default` where it is missing or empty.
    ///
    /// # Errors
    /// [`Unusable`] when it is set and does not parse.
    pub fn or<T>(&mut self, variable: &Variable<T>, default: T) -> Result<T, Unusable> {
        Ok(self.optional(variable)?.unwrap_or(default))
    }

    /// The value of a variable; none where it is missing or empty.
    ///
    /// # Errors
    /// [`Unusable`] when it is set and does not parse.
    pub fn optional<T>(&mut self, variable: &Variable<T>) -> Result<Option<T>, Unusable> {
        let Some(value) = (self.lookup)(variable.name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let Ok(value) = value.into_string() else {
            return self.reject(variable.fault(Found::NotUnicode));
        };
        match (variable.parse)(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => self.reject(variable.fault(Found::Value(value))),
        }
    }

    fn reject<T>(&mut self, fault: Fault) -> Result<T, Unusable> {
        self.faults.push(fault);
        Err(Unusable(()))
    }
}

impl Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => write!(f, "1 environment variable cannot be used")?,
            n => write!(f, "{n} environment variables cannot be used")?,
        }
        for fault in &self.faults {
            write!(
                f,
                "\n  {}: {}, expected {}",
                fault.name, fault.found, fault.expects
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "not set"),
            Self::NotUnicode => write!(f, "found text that is not UTF-8"),
            Self::Value(value) => write!(f, "found `{}`", value.escape_debug()),
            Self::Secret => write!(f, "found a value (not shown, it holds a secret)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Variable<u16> = Variable::new("PORT", "a port from 0 to 65535", parsed);
    const NAME: Variable<String> = Variable::new("NAME", "a name", text);
    const KEY: Variable<u64> = Variable::secret("KEY", "a number", parsed);

    fn with<T>(
        pairs: &[(&str, &str)],
        build: impl FnOnce(&mut Reader<'_>) -> Result<T, Unusable>,
    ) -> Result<T, String> {
        let lookup = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        read(&lookup, build).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_is_there() {
        let all = with(&[("PORT", "81"), ("NAME", "x")], |env| {
            let (port, name) = (env.required(&PORT), env.or(&NAME, "y".into()));
            Ok((port?, name?, env.optional(&KEY)?))
        });
        assert_eq!(all, Ok((81, "x".to_owned(), None)));
    }

    #[test]
    fn an_empty_value_counts_as_missing() {
        assert_eq!(with(&[("PORT", "")], |env| env.or(&PORT, 7)), Ok(7));
        let missing = with(&[("PORT", "")], |env| env.required(&PORT));
        assert!(missing.unwrap_err().contains("PORT: not set"));
    }

    #[test]
    fn a_store_may_be_missing_outside_kubernetes_only() {
        assert_eq!(with(&[], |env| env.store(&PORT)), Ok(None));
        assert_eq!(with(&[("PORT", "7")], |env| env.store(&PORT)), Ok(Some(7)));
        let pod = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        assert_eq!(
            with(&[pod, ("PORT", "7")], |env| env.store(&PORT)),
            Ok(Some(7))
        );
        let missing = with(&[pod], |env| env.store(&PORT));
        assert!(missing.unwrap_err().contains("PORT: not set"));
    }

    #[test]
    fn reports_every_fault_at_once_and_hides_secrets() {
        let error = with(&[("PORT", "http"), ("KEY", "hunter2")], |env| {
            let (port, name, key) = (env.required(&PORT), env.required(&NAME), env.required(&KEY));
            Ok((port?, name?, key?))
        })
        .unwrap_err();
        assert_eq!(
            error,
            "3 environment variables cannot be used\n  \
             PORT: found `http`, expected a port from 0 to 65535\n  \
             NAME: not set, expected a name\n  \
             KEY: found a value (not shown, it holds a secret), expected a number"
        );
        assert!(!error.contains("hunter2"));
    }

    #[test]
    fn a_fault_that_the_caller_ignored_still_fails() {
        let error = with(&[("PORT", "x")], |env| Ok(env.required(&PORT).unwrap_or(1)));
        assert!(error.is_err());
    }

    #[test]
    fn seconds_have_bounds() {
        assert_eq!(seconds("0.5"), Some(Duration::from_millis(500)));
        for bad in ["-1", "3601", "NaN", "inf", "5s", ""] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
