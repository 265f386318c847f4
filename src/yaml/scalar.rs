//! What a plain scalar means, or why it is refused.

/// The value of a plain scalar.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of at most 64 bits.
    Integer(serde_json::Number),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Anything else.
    Text,
}

/// Reads a plain scalar by the YAML 1.2 core schema (section 10.3.2). `Err` gives the remedy for what
/// YAML 1.1 and 1.2 read differently, or what does not fit.
pub fn plain(text: &str) -> Result<Plain, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Plain::Null),
        "true" | "True" | "TRUE" => return Ok(Plain::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Plain::Bool(false)),
        _ => {}
    }
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" => return Err(format!("quote it (\"{text}\") or write true")),
        "no" | "off" | "n" => return Err(format!("quote it (\"{text}\") or write false")),
        ".inf" | "-.inf" | "+.inf" | ".nan" => {
            return Err("JSON and Kubernetes have no such number: quote it".into());
        }
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(Plain::Text);
    }
    if let Some(number) = prefixed(digits, "0x", 16).or_else(|| prefixed(digits, "0o", 8)) {
        if digits.len() != text.len() {
            return Err(format!("quote it (\"{text}\") or write it in decimal"));
        }
        return number.map(|n| Plain::Integer(n.into()));
    }
    if digits.chars().all(|c| c.is_ascii_digit()) {
        return decimal(text, digits);
    }
    if digits.contains('_') && digits.chars().all(|c| c.is_ascii_digit() || c == '_') {
        return Err(format!("quote it (\"{text}\") or leave the _ out"));
    }
    Ok(float(digits, text).map_or(Plain::Text, Plain::Float))
}

fn prefixed(digits: &str, prefix: &str, radix: u32) -> Option<Result<u64, String>> {
    let rest = digits.strip_prefix(prefix)?;
    if rest.is_empty() || !rest.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(u64::from_str_radix(rest, radix).map_err(|_| TOO_LARGE.to_owned()))
}

const TOO_LARGE: &str = "an integer has at most 64 bits: quote it";

fn decimal(text: &str, digits: &str) -> Result<Plain, String> {
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(match u64::from_str_radix(digits, 8) {
            Ok(octal) => {
                format!("quote it (\"{text}\"), or write {octal} if an octal number is meant")
            }
            Err(_) => format!("quote it (\"{text}\") or leave the leading 0 out"),
        });
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Plain::Integer(number.into()));
    }
    text.parse::<u64>()
        .map(|number| Plain::Integer(number.into()))
        .map_err(|_| TOO_LARGE.to_owned())
}

/// `[0-9]*.[0-9]*` with an optional exponent; not what Rust accepts beyond that (`1e`, `infinity`).
fn float(digits: &str, text: &str) -> Option<f64> {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && all_digits(exponent)
    });
    let number = !(whole.is_empty() && fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
        && exponent_ok;
    if number {
        text.parse().ok().filter(|value: &f64| value.is_finite())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema() {
        let integer = |n: i64| Plain::Integer(n.into());
        for (text, expected) in [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("null", Plain::Null),
            ("true", Plain::Bool(true)),
            ("False", Plain::Bool(false)),
            ("0", integer(0)),
            ("-12", integer(-12)),
            ("+12", integer(12)),
            ("0x1F", integer(31)),
            ("0o644", integer(420)),
            ("9223372036854775807", integer(i64::MAX)),
            ("18446744073709551615", Plain::Integer(u64::MAX.into())),
            ("1.5", Plain::Float(1.5)),
            ("-1e3", Plain::Float(-1000.0)),
            (".5", Plain::Float(0.5)),
            ("1.2.3", Plain::Text),
            ("50m", Plain::Text),
            ("1e", Plain::Text),
            ("12:30", Plain::Text),
            ("2026-11-21", Plain::Text),
            ("infinity", Plain::Text),
            (".", Plain::Text),
            ("-", Plain::Text),
            ("yesterday", Plain::Text),
        ] {
            assert_eq!(plain(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_two_readers_read_differently_is_refused() {
        for (text, remedy) in [
            ("yes", "write true"),
            ("No", "write false"),
            ("on", "write true"),
            ("OFF", "write false"),
            ("y", "write true"),
            ("n", "write false"),
            ("0644", "write 420"),
            ("0899", "leave the leading 0 out"),
            ("1_000", "leave the _ out"),
            ("18446744073709551616", "64 bits"),
            ("-9223372036854775809", "64 bits"),
            ("-0x1F", "in decimal"),
            (".inf", "no such number"),
            (".NaN", "no such number"),
        ] {
            let error = plain(text).expect_err(text);
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }
}
