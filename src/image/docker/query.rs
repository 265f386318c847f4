//! Query strings of the engine's API.

use std::fmt::Write;

/// `name=value&…`, percent-encoded; pairs with an empty value are left out.
pub(super) fn query(pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_and_empty_ones_left_out() {
        let pairs = [
            ("labels", r#"{"a b":"ü&"}"#.to_owned()),
            ("target", String::new()),
            ("rm", "1".to_owned()),
        ];
        assert_eq!(
            query(&pairs),
            "labels=%7B%22a%20b%22%3A%22%C3%BC%26%22%7D&rm=1"
        );
    }
}
