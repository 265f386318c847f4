//! Versions of Debian packages and their order, as Debian policy 5.6.12 defines it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// `[epoch:]upstream[-revision]`, kept as it was written.
///
/// Two versions may be equal without being the same text (`1.0` and `0:1.0-0`);
/// equality here follows the order, as dpkg's does.
#[derive(Clone)]
pub struct Version {
    text: String,
    epoch: u32,
    /// Where the upstream version begins, behind the epoch.
    start: usize,
    /// Where it ends, before the hyphen of the revision.
    end: usize,
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a Debian version")]
pub struct InvalidVersion(pub String);

impl Version {
    /// The version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn upstream(&self) -> &str {
        &self.text[self.start..self.end]
    }

    /// Empty where there is none, which is the same as `0`.
    fn revision(&self) -> &str {
        self.text.get(self.end + 1..).unwrap_or_default()
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let invalid = || InvalidVersion(text.to_owned());
        let (epoch, start) = match text.split_once(':') {
            Some((epoch, _)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                (epoch.parse().map_err(|_| invalid())?, epoch.len() + 1)
            }
            Some(_) => return Err(invalid()),
            None => (0, 0),
        };
        let end = text
            .rfind('-')
            .filter(|at| *at >= start)
            .unwrap_or(text.len());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte);
        let revision = text.get(end + 1..);
        if start == end
            || revision.is_some_and(|revision| revision.is_empty() || revision.contains(':'))
            || !text.bytes().all(allowed)
        {
            return Err(invalid());
        }
        Ok(Self {
            text: text.to_owned(),
            epoch,
            start,
            end,
        })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare(self.upstream(), other.upstream()))
            .then_with(|| compare(self.revision(), other.revision()))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parts without digits and numbers, in turn, until one differs.
fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        let words = compare_words(take(&mut left, false), take(&mut right, false));
        let order =
            words.then_with(|| compare_numbers(take(&mut left, true), take(&mut right, true)));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Cuts off the longest start that is all digits, or has none.
fn take<'a>(rest: &mut &'a [u8], digits: bool) -> &'a [u8] {
    let length = rest
        .iter()
        .position(|byte| byte.is_ascii_digit() != digits)
        .unwrap_or(rest.len());
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

fn compare_words(left: &[u8], right: &[u8]) -> Ordering {
    let length = left.len().max(right.len());
    let weights = |word: &[u8]| -> Vec<i32> {
        let padding = std::iter::repeat(0);
        word.iter()
            .map(|byte| weight(*byte))
            .chain(padding)
            .take(length)
            .collect()
    };
    weights(left).cmp(&weights(right))
}

/// A tilde comes before the end (0), letters come before everything else.
fn weight(byte: u8) -> i32 {
    match byte {
        b'~' => -1,
        letter if letter.is_ascii_alphabetic() => i32::from(letter),
        other => i32::from(other) + 256,
    }
}

/// Of any length: compared as text once the leading zeros are gone.
fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |number: &[u8]| -> Vec<u8> {
        number
            .iter()
            .copied()
            .skip_while(|digit| *digit == b'0')
            .collect()
    };
    let (left, right) = (significant(left), significant(right));
    left.len().cmp(&right.len()).then_with(|| left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn the_order_of_policy_and_of_real_packages() {
        let ascending = [
            // Policy 5.6.12: "~~, ~~a, ~, the empty part, a"
            &["1~~", "1~~a", "1~", "1", "1a"][..],
            &["1.0~beta1~svn1245", "1.0~beta1", "1.0"],
            &["1.0-1", "1.0-1.1", "1.0-2", "1.0-10", "1.0.1-1"],
            &["9", "0:10", "1:1", "2:0.1"],
            &["1.2", "1.2-1+b1", "1.2+a", "1.2.1"],
            &["1a", "1b", "1+", "1."],
            &[
                "5:7.0.15-1~deb12u1",
                "5:7.0.15-1~deb12u4",
                "5:7.0.15-1",
                "5:7.0.15-1+b1",
            ],
            &["2.36-9+deb12u9", "2.36-9+deb12u10", "2.36-10"],
            &["1-1-1", "1-1-2", "1-2-1"],
            &["99999999999999999998", "99999999999999999999"],
        ];
        for list in ascending {
            for pair in list.windows(2) {
                assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
                assert!(version(pair[1]) > version(pair[0]), "{pair:?}");
            }
        }
    }

    #[test]
    fn different_texts_of_the_same_version() {
        for (left, right) in [
            ("1.0", "0:1.0"),
            ("1.0", "1.0-0"),
            ("1.00", "1.0"),
            ("1.a0", "1.a"),
        ] {
            assert_eq!(version(left), version(right), "{left} {right}");
        }
        assert_eq!(version("0:01.0-0").as_str(), "0:01.0-0", "kept as written");
    }

    #[test]
    fn what_is_no_version() {
        for bad in [
            "",
            ":1",
            "a:1",
            "1:",
            "-1",
            "1-",
            "1 0",
            "1_0",
            "é",
            "4294967296:1",
            "1:-1",
            "1-a:b",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }

    fn any_version() -> impl Strategy<Value = String> {
        "([0-2]:)?[0-9][0-9a-c~.+]{0,6}(-[0-9a-c~.+]{1,4})?"
    }

    proptest! {
        #[test]
        fn it_is_a_total_order(a in any_version(), b in any_version(), c in any_version()) {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
        }

        #[test]
        fn a_tilde_makes_it_older_and_a_plus_newer(a in "[0-9][0-9a-c.]{0,6}") {
            let (older, newer) = (format!("{a}~x"), format!("{a}+x"));
            prop_assert!(version(&older) < version(&a));
            prop_assert!(version(&newer) > version(&a));
        }
    }

    /// Three questions a run, because each is a process; on Debian only.
    #[test]
    fn dpkg_agrees() {
        let relations = [
            ("lt", Ordering::Less),
            ("eq", Ordering::Equal),
            ("gt", Ordering::Greater),
        ];
        let pairs = [
            ("1.0~rc1-1", "1.0-1"),
            ("1:0.9", "1.0"),
            ("2.36-9+deb12u10", "2.36-9+deb12u9"),
            ("1.a0", "1.a"),
            ("1.0-0", "1.0"),
            ("1+b~c", "1+b"),
            ("0.0a.b", "0.0a+b"),
        ];
        for (left, right) in pairs {
            for (name, order) in relations {
                let mut dpkg = Command::new("dpkg");
                let Ok(status) = dpkg
                    .args(["--compare-versions", left, name, right])
                    .status()
                else {
                    return; // not a Debian machine: the table above says the same by hand
                };
                let ours = version(left).cmp(&version(right)) == order;
                assert_eq!(ours, status.success(), "{left} {name} {right}");
            }
        }
    }
}
