//! Query strings of the engine's API.

use crate::secret::{Encoding, encode};

/// `name=value&…`, percent-encoded; pairs with an empty value are left out.
pub(super) fn query(pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&encode(value, Encoding::Url));
    }
    text
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
