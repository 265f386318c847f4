//! When a client certificate ends: the API server answers only 401 to one that has.

use jiff::Timestamp;

/// Tags of DER (X.690) that a certificate's head consists of.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of the validity of the first certificate in a PEM text (RFC 5280, section 4.1).
pub(super) fn expiry(pem: &str) -> Option<Timestamp> {
    let body = pem.split("-----BEGIN CERTIFICATE-----").nth(1)?;
    let body = body.split("-----END CERTIFICATE-----").next()?;
    let encoded: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    let der = decode_base64(&encoded)?;
    let (certificate, _) = value(SEQUENCE, &der)?;
    let (mut head, _) = value(SEQUENCE, certificate)?;
    if let Some((_, rest)) = value(EXPLICIT_VERSION, head) {
        head = rest;
    }
    let (_serial, rest) = value(INTEGER, head)?;
    let (_algorithm, rest) = value(SEQUENCE, rest)?;
    let (_issuer, rest) = value(SEQUENCE, rest)?;
    let (validity, _) = value(SEQUENCE, rest)?;
    let (_not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(not_after)
}

/// Base64 as in a kubeconfig or a PEM body.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(text.into()).ok()?;
    Some(bytes.0)
}

/// The contents of the value at the front, if it has this tag, and what follows it.
fn value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = bytes.iter().try_fold(0_usize, |length, byte| {
            Some(length.checked_mul(256)? | usize::from(*byte))
        })?;
        (length, rest)
    };
    rest.split_at_checked(length)
}

fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, century) = if let Some((text, rest)) = value(UTC_TIME, der) {
        let text = std::str::from_utf8(text).ok()?;
        // RFC 5280: two-digit years below 50 are in this century.
        let century = if text.get(..2)?.parse::<u8>().ok()? < 50 {
            "20"
        } else {
            "19"
        };
        (text, rest, century)
    } else {
        let (text, rest) = value(GENERALIZED_TIME, der)?;
        (std::str::from_utf8(text).ok()?, rest, "")
    };
    let digits = format!("{century}{text}");
    let part = |from: usize, to: usize| digits.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let timestamp = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")
        .parse()
        .ok()?;
    Some((timestamp, rest))
}

#[cfg(test)]
mod tests {
    use super::expiry;

    /// Made with openssl, self-signed, `CN=t`, `-enddate 20200102030405Z`.
    const CERTIFICATE: &str = include_str!("testdata/ended.pem");

    #[test]
    fn the_end_of_a_certificate_is_read() {
        assert_eq!(
            expiry(CERTIFICATE).unwrap().to_string(),
            "2020-01-02T03:04:05Z"
        );
    }

    #[test]
    fn anything_else_has_no_end() {
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(expiry(text), None, "{text}");
        }
    }
}
