//! Quantities such as `250m`, `1.5Gi` or `2e3`, read and written as Kubernetes does
//! (`k8s.io/apimachinery/pkg/api/resource`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Nothing smaller is told apart.
const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// Larger amounts are capped, as Kubernetes does.
const MAX_NANOS: i128 = i64::MAX as i128 * NANOS_PER_UNIT;
/// The exponent of ten of each decimal suffix.
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
/// The exponent of two of each binary suffix.
const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

/// An exact amount of at least a billionth, with the notation it was written in. Compares by amount.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    notation: Notation,
}

/// The family of a quantity's suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// `m`, none, `k`, `M` …: powers of 1000.
    Decimal,
    /// `Ki`, `Mi` …: powers of 1024.
    Binary,
    /// `e3`, `E6` …
    Exponent,
}

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// Nothing is written.
    #[error("it is empty")]
    Empty,
    /// There is no number in front.
    #[error("it must start with a number")]
    NoNumber,
    /// What follows the number is no suffix.
    #[error(
        "the suffix must be one of n u m k M G T P E Ki Mi Gi Ti Pi Ei or an exponent such as e3"
    )]
    UnknownSuffix,
}

impl Quantity {
    /// The amount in billionths.
    #[must_use]
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// An amount of `nanos` billionths, capped at 2^63-1 units.
    #[must_use]
    pub fn new(nanos: i128, notation: Notation) -> Self {
        Self {
            nanos: nanos.clamp(-MAX_NANOS, MAX_NANOS),
            notation,
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        if text.is_empty() {
            return Err(InvalidQuantity::Empty);
        }
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(InvalidQuantity::NoNumber);
        }
        let (notation, scale) = scale(suffix).ok_or(InvalidQuantity::UnknownSuffix)?;
        let nanos = amount(whole, fraction, scale);
        Ok(Self::new(if negative { -nanos } else { nanos }, notation))
    }
}

/// The canonical form: no fraction, the largest suffix that keeps the amount exact.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.nanos % NANOS_PER_UNIT == 0;
        let units = self.nanos / NANOS_PER_UNIT;
        if self.notation == Notation::Binary && whole && units.abs() >= 1024 {
            let (suffix, power) = BINARY
                .iter()
                .rev()
                .find(|(_, power)| units % (1_i128 << power) == 0)
                .copied()
                .unwrap_or(("", 0));
            return write!(f, "{}{suffix}", units >> power);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let mut digits = self.nanos;
        let mut exponent = -9;
        while digits % 1000 == 0 && exponent < 18 {
            digits /= 1000;
            exponent += 3;
        }
        if self.notation == Notation::Exponent && exponent != 0 {
            return write!(f, "{digits}e{exponent}");
        }
        let suffix = DECIMAL
            .iter()
            .find(|(_, power)| *power == exponent)
            .map_or("", |(suffix, _)| *suffix);
        write!(f, "{digits}{suffix}")
    }
}

/// What a number is multiplied by.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Option<(Notation, Scale)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Notation::Decimal, Scale::Ten(*power)));
    }
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Notation::Binary, Scale::Two(*power)));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some((Notation::Exponent, Scale::Ten(exponent.parse().ok()?)))
}

/// Billionths, rounded up; capped where they do not fit.
fn amount(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let (factor, power) = match scale {
        Scale::Ten(power) => (1, power),
        Scale::Two(power) => (1_i128 << power, 0),
    };
    // digits × factor × 10^shift = billionths
    let shift = i64::from(power) + 9 - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let mut digits = format!("{whole}{fraction}");
    // What lies below a billionth only decides about rounding up.
    let mut sticky = false;
    let mut shift = shift;
    while shift < 0 && digits.len() > 30 {
        sticky |= !digits.ends_with('0');
        digits.pop();
        shift += 1;
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return i128::from(sticky);
    }
    let Some(exact) = digits
        .parse::<i128>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
    else {
        return MAX_NANOS;
    };
    scaled(exact, shift, sticky)
}

fn scaled(exact: i128, shift: i64, sticky: bool) -> i128 {
    let power = u32::try_from(shift.unsigned_abs()).unwrap_or(u32::MAX);
    match 10_i128.checked_pow(power) {
        None if shift < 0 => 1,
        None => MAX_NANOS,
        Some(ten) if shift < 0 => exact / ten + i128::from(exact % ten != 0 || sticky),
        Some(ten) => exact.checked_mul(ten).unwrap_or(MAX_NANOS).min(MAX_NANOS),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Quantity {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_canonical_form_is_that_of_kubernetes() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.0Gi", "0"),
            ("1", "1"),
            ("+5", "5"),
            ("-5m", "-5m"),
            ("1.5", "1500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("0.5Ki", "512"),
            ("0.0005Ki", "512m"),
            ("1023Ki", "1023Ki"),
            ("2e3", "2e3"),
            ("1.5E3", "1500"),
            ("100e-3", "100e-3"),
            ("0.1m", "100u"),
            ("0.1n", "1n"),
            ("1000000", "1M"),
            ("123456789n", "123456789n"),
            ("100E", "9223372036854775807"),
            ("8Ei", "9223372036854775807"),
            ("7Ei", "7Ei"),
        ] {
            assert_eq!(parse(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn quantities_compare_by_amount() {
        assert_eq!(parse("1000m"), parse("1"));
        assert_eq!(parse("1Gi"), parse("1073741824"));
        assert_eq!(parse("1k"), parse("1e3"));
        assert!(parse("1G") < parse("1Gi"));
        assert!(parse("-1") < parse("1m"));
        assert_eq!(parse("250m").nanos(), 250_000_000);
    }

    #[test]
    fn what_is_no_quantity() {
        for (text, error) in [
            ("", InvalidQuantity::Empty),
            ("Gi", InvalidQuantity::NoNumber),
            (".", InvalidQuantity::NoNumber),
            ("-", InvalidQuantity::NoNumber),
            ("1.2.3", InvalidQuantity::NoNumber),
            ("1 Gi", InvalidQuantity::UnknownSuffix),
            ("128MB", InvalidQuantity::UnknownSuffix),
            ("128mb", InvalidQuantity::UnknownSuffix),
            ("1K", InvalidQuantity::UnknownSuffix),
            ("1e", InvalidQuantity::UnknownSuffix),
            ("1e3k", InvalidQuantity::UnknownSuffix),
            ("100%", InvalidQuantity::UnknownSuffix),
            ("1é", InvalidQuantity::UnknownSuffix),
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(error), "{text:?}");
        }
    }

    fn notation() -> impl Strategy<Value = Notation> {
        prop_oneof![
            Just(Notation::Decimal),
            Just(Notation::Binary),
            Just(Notation::Exponent)
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in -MAX_NANOS..=MAX_NANOS, notation in notation()) {
            let quantity = Quantity::new(nanos, notation);
            prop_assert_eq!(parse(&quantity.to_string()), quantity, "{}", quantity);
        }

        #[test]
        fn whole_numbers_are_what_they_say(units in 0..i64::MAX, suffix in 0..6_usize) {
            let (name, power) = BINARY[suffix];
            let expected = (i128::from(units) << power).min(i128::from(i64::MAX)) * NANOS_PER_UNIT;
            prop_assert_eq!(parse(&format!("{units}{name}")).nanos(), expected);
        }

        #[test]
        fn no_input_panics(text in "[-+0-9.eEKMGTPinumk]{0,60}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
