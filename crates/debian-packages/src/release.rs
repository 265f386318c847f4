//! The signed contents list of a suite (`InRelease`): which indices there are, with their hashes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use oci_image::Digest;

use crate::deb822;
use crate::keyring::Keyring;
use crate::signature::{Expiry, SignatureError, verify};
use crate::source::Source;

/// A release may say that it was made this much later than our clock, in seconds.
const SKEW: i64 = 600;

/// What a suite's `InRelease` says, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) date: Timestamp,
    /// Of the key that signed it.
    pub(crate) fingerprint: String,
    pub(crate) by_hash: bool,
    components: Vec<String>,
    architectures: Vec<String>,
    /// Below the suite's folder.
    files: BTreeMap<String, IndexFile>,
}

/// A file of the suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
}

/// Why a suite's `InRelease` is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It is not genuine.
    #[error("the signature of {uri} {suite} cannot be trusted")]
    Signature {
        /// The archive.
        uri: String,
        /// The suite.
        suite: String,
        /// What is wrong.
        #[source]
        source: SignatureError,
    },
    /// A field is missing or is not what it should be.
    #[error("{uri} {suite} has no usable field `{field}`")]
    Field {
        /// The archive.
        uri: String,
        /// The suite.
        suite: String,
        /// The field of `InRelease`.
        field: &'static str,
    },
    /// It is another suite's.
    #[error(
        "{uri} {suite} is signed as `{found}`: the archive or its mirror delivers another suite"
    )]
    OtherSuite {
        /// The archive.
        uri: String,
        /// The suite that was asked for.
        suite: String,
        /// Suite and code name of what came.
        found: String,
    },
    /// It has been replaced since: someone may hold security updates back.
    #[error(
        "the index of {uri} {suite} expired on {until}: the mirror is out of date, or the clock is wrong"
    )]
    Expired {
        /// The archive.
        uri: String,
        /// The suite.
        suite: String,
        /// The last moment it was good.
        until: Timestamp,
    },
    /// The clock is wrong.
    #[error("the index of {uri} {suite} is of {date}, which is in the future: is the clock right?")]
    Future {
        /// The archive.
        uri: String,
        /// The suite.
        suite: String,
        /// When it says it was made.
        date: Timestamp,
    },
    /// It lacks what the source asks for.
    #[error("{uri} {suite} has no {what} `{name}`; it has {}", .known.join(", "))]
    Unknown {
        /// The archive.
        uri: String,
        /// The suite.
        suite: String,
        /// `component` or `architecture`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

impl Release {
    /// Verifies signature, suite and dates; nothing outside the signature is read.
    pub(crate) fn verify(
        in_release: &[u8],
        keyring: &Keyring,
        (source, suite): (&Source, &str),
        now: Timestamp,
    ) -> Result<Self, ReleaseError> {
        let expiry = match source.check_valid_until {
            true => Expiry::Now,
            false => Expiry::WhenSigned,
        };
        let seconds = u32::try_from(now.as_second()).unwrap_or(u32::MAX);
        let signed = verify(in_release, keyring, seconds, expiry).map_err(|cause| {
            ReleaseError::Signature {
                uri: source.uri.clone(),
                suite: suite.to_owned(),
                source: cause,
            }
        })?;
        let mut release = Self::parse(&signed.text, source, suite)?;
        release.fingerprint = signed.fingerprint;
        release.check_dates(&signed.text, (source, suite), now)?;
        Ok(release)
    }

    /// Where the packages of a component are listed: the smallest form first.
    pub(crate) fn packages(
        &self,
        component: &str,
        architecture: &str,
        (source, suite): (&Source, &str),
    ) -> Result<&IndexFile, ReleaseError> {
        let unknown = |what, name: &str, known: &[String]| ReleaseError::Unknown {
            uri: source.uri.clone(),
            suite: suite.to_owned(),
            what,
            name: name.to_owned(),
            known: known.to_vec(),
        };
        // Security suites write `updates/main` for what lies in `main`.
        let is_it =
            |known: &String| known == component || known.ends_with(&format!("/{component}"));
        if !self.components.iter().any(is_it) {
            return Err(unknown("component", component, &self.components));
        }
        if !self.architectures.iter().any(|known| known == architecture) {
            return Err(unknown("architecture", architecture, &self.architectures));
        }
        ["xz", "gz"]
            .iter()
            .find_map(|form| {
                self.files.get(&format!(
                    "{component}/binary-{architecture}/Packages.{form}"
                ))
            })
            .ok_or_else(|| unknown("index of packages for", component, &self.components))
    }

    fn parse(text: &str, source: &Source, suite: &str) -> Result<Self, ReleaseError> {
        let missing = |field| ReleaseError::Field {
            uri: source.uri.clone(),
            suite: suite.to_owned(),
            field,
        };
        let fields = deb822::fields(text).map_err(|_| missing("Codename"))?;
        let value = |name| deb822::value(&fields, name);
        let names = [value("Suite"), value("Codename")];
        // `stable/updates` was the form of security suites before bullseye.
        let is_suite = |name: &str| name == suite || name.strip_suffix("/updates") == Some(suite);
        if !names.iter().flatten().any(|name| is_suite(name)) {
            return Err(ReleaseError::OtherSuite {
                uri: source.uri.clone(),
                suite: suite.to_owned(),
                found: names.into_iter().flatten().collect::<Vec<_>>().join(" / "),
            });
        }
        let words = |name| -> Vec<String> {
            let words = value(name).unwrap_or_default().split_whitespace();
            words.map(str::to_owned).collect()
        };
        let hashes = value("SHA256").ok_or_else(|| missing("SHA256"))?;
        Ok(Self {
            date: value("Date")
                .and_then(parse_date)
                .ok_or_else(|| missing("Date"))?,
            fingerprint: String::new(),
            by_hash: value("Acquire-By-Hash") == Some("yes"),
            components: words("Components"),
            architectures: words("Architectures"),
            files: parse_files(hashes).ok_or_else(|| missing("SHA256"))?,
        })
    }

    fn check_dates(
        &self,
        text: &str,
        (source, suite): (&Source, &str),
        now: Timestamp,
    ) -> Result<(), ReleaseError> {
        let (uri, suite) = (source.uri.clone(), suite.to_owned());
        if self.date.as_second() > now.as_second().saturating_add(SKEW) {
            return Err(ReleaseError::Future {
                uri,
                suite,
                date: self.date,
            });
        }
        let fields = deb822::fields(text).unwrap_or_default();
        let Some(until) = deb822::value(&fields, "Valid-Until") else {
            return Ok(());
        };
        let Some(until) = parse_date(until) else {
            return Err(ReleaseError::Field {
                uri,
                suite,
                field: "Valid-Until",
            });
        };
        if source.check_valid_until && until < now {
            return Err(ReleaseError::Expired { uri, suite, until });
        }
        Ok(())
    }
}

/// `Sat, 11 Jul 2026 10:16:37 UTC`.
fn parse_date(text: &str) -> Option<Timestamp> {
    let local = ["UTC", "GMT", "+0000", "Z"]
        .iter()
        .find_map(|zone| text.trim().strip_suffix(zone))?;
    let time = DateTime::strptime("%a, %d %b %Y %H:%M:%S", local.trim_end()).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Lines of hash, size and path.
fn parse_files(lines: &str) -> Option<BTreeMap<String, IndexFile>> {
    let mut files = BTreeMap::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let digest = format!("sha256:{}", words.next()?).parse().ok()?;
        let size = words.next()?.parse().ok()?;
        let path = words.next()?.to_owned();
        files.insert(path.clone(), IndexFile { path, size, digest });
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Origin: Debian\nSuite: oldstable-security\nCodename: bookworm-security\n\
        Date: Wed, 18 Nov 2026 22:17:41 UTC\nValid-Until: Wed, 25 Nov 2026 22:17:41 UTC\n\
        Acquire-By-Hash: yes\nArchitectures: amd64 arm64\nComponents: updates/main\nSHA256:\n \
        32c51122c8fceb8edce780006dc881c889ef3eba65ac2b7bb9e13872c36c9758   376228 main/binary-amd64/Packages.xz\n \
        05516a7e2e1f29b8f1686eb1e82c1d1142d1ab21c3398de3d3b3da977fcf60e6      143 main/binary-amd64/Packages.gz\n";

    fn parse(text: &str, suite: &str) -> Result<Release, ReleaseError> {
        Release::parse(text, &Source::new("http://a", &[suite]), suite)
    }

    fn check(text: &str, now: &str, check_valid_until: bool) -> Result<(), ReleaseError> {
        let source = Source {
            check_valid_until,
            ..Source::new("http://a", &["bookworm-security"])
        };
        let release = Release::parse(text, &source, "bookworm-security")?;
        release.check_dates(text, (&source, "bookworm-security"), now.parse().unwrap())
    }

    #[test]
    fn the_fields_that_are_used() {
        let release = parse(TEXT, "bookworm-security").unwrap();
        assert_eq!(release.date.to_string(), "2026-11-18T22:17:41Z");
        assert!(release.by_hash);
        let source = Source::new("http://a", &["bookworm-security"]);
        let place = (&source, "bookworm-security");
        let packages = release.packages("main", "amd64", place).unwrap();
        assert_eq!(
            (packages.path.as_str(), packages.size),
            ("main/binary-amd64/Packages.xz", 376_228)
        );
        for (component, architecture, message) in [
            (
                "contrib",
                "amd64",
                "http://a bookworm-security has no component `contrib`; it has updates/main",
            ),
            (
                "main",
                "mips",
                "http://a bookworm-security has no architecture `mips`; it has amd64, arm64",
            ),
        ] {
            let refused = release
                .packages(component, architecture, place)
                .unwrap_err();
            assert_eq!(refused.to_string(), message);
        }
    }

    #[test]
    fn suites_have_two_names_and_no_third() {
        assert!(parse(TEXT, "oldstable-security").is_ok());
        let refused = parse(TEXT, "trixie-security").unwrap_err();
        assert!(matches!(refused, ReleaseError::OtherSuite { found, .. }
            if found == "oldstable-security / bookworm-security"));
    }

    #[test]
    fn dates_are_checked_against_the_clock() {
        assert!(check(TEXT, "2026-11-20T00:00:00Z", true).is_ok());
        assert!(
            check(TEXT, "2026-11-18T22:10:00Z", true).is_ok(),
            "clocks may differ a little"
        );
        let late = check(TEXT, "2026-11-25T22:17:42Z", true).unwrap_err();
        assert!(matches!(late, ReleaseError::Expired { .. }));
        assert!(
            check(TEXT, "2027-11-25T22:17:42Z", false).is_ok(),
            "a snapshot"
        );
        let early = check(TEXT, "2026-11-18T20:00:00Z", true).unwrap_err();
        assert!(matches!(early, ReleaseError::Future { .. }));
        let broken = TEXT.replace("Wed, 25 Nov", "never, 25 Nov");
        let refused = check(&broken, "2026-11-20T00:00:00Z", true).unwrap_err();
        assert!(matches!(
            refused,
            ReleaseError::Field {
                field: "Valid-Until",
                ..
            }
        ));
    }

    #[test]
    fn what_lacks_a_field_is_refused() {
        for field in ["Date", "SHA256"] {
            let text = TEXT.replace(&format!("{field}:"), "Other:");
            let refused = parse(&text, "bookworm-security").unwrap_err();
            assert!(matches!(refused, ReleaseError::Field { field: found, .. } if found == field));
        }
    }
}
