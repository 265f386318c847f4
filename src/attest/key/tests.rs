//! Tests of keys: what OpenSSL makes is taken, signatures hold, and nothing of a key is shown.

use rustls::crypto::ring::default_provider;

use super::*;

/// Made for these tests: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
const P256: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZv0TBbwovLSkQrx/
E+nmV9EZFyLACt7Ur9HrC7uG2cqhRANCAAS+BkGsiORJD+4iZLqjCH6FkZHFVDSW
p+BmvKl+OcS3a4DA3GDhI3hf0W0F7gtCWUxhd0N/mW68D3FhHQ4PC27j";
/// The same key: `openssl ec`.
const SEC1: &str = "MHcCAQEEIGb9EwW8KLy0pEK8fxPp5lfRGRciwAre1K/R6wu7htnKoAoGCCqGSM49
AwEHoUQDQgAEvgZBrIjkSQ/uImS6owh+hZGRxVQ0lqfgZrypfjnEt2uAwNxg4SN4
X9FtBe4LQllMYXdDf5luvA9xYR0ODwtu4w==";
/// The same key: `openssl pkey -pubout`.
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvgZBrIjkSQ/uImS6owh+hZGRxVQ0
lqfgZrypfjnEt2uAwNxg4SN4X9FtBe4LQllMYXdDf5luvA9xYR0ODwtu4w==
-----END PUBLIC KEY-----
";
/// `stackctl`, signed by it: `openssl dgst -sha256 -sign`.
const SIGNED_BY_OPENSSL: &str = "MEUCIESACOaz4h8QR0k9bdxeOWY3E54TxorQ+ZkAttNp5880AiEAgeIVYC9jCqQMUK9ZN4PfH4JlEiM1DEuxyKjS124TlDM=";
const P384: &str = "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAZZEuSwKZZp1nHbrS6
U3veLHFskmVVfx0eg5fh5URrsdlYM/L29Q0wiSmUzvl2xDehZANiAAR1cn3Ag3WW
jxjbujRRELDPwm341lFSjt14K7DNIt2DyuMPTYTYVlli4KptRrVDW4G6nxgCmygf
oemAdbbO+MQd/DwUxun5g4ChRE5BCj7e22QigjLnzU6+7NnJs/UZfO4=";
const ED25519: &str = "MC4CAQAwBQYDK2VwBCIEIHsg0erApDXQThDB3UWO6b0RI4qKrvS1ZB/YQVDDMD+O";

fn pem(label: &str, content: &str) -> String {
    format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
}

fn place() -> KeySource {
    KeySource::Variable("SIGNING_KEY".into())
}

fn key(label: &str, content: &str) -> Result<Key, KeyError> {
    Key::from_pem(pem(label, content).as_bytes(), &place())
}

pub(crate) fn test_key() -> Key {
    key("PRIVATE KEY", P256).unwrap()
}

/// Whether `signature` is one of `message` by the key of these tests, as ring sees it.
pub(crate) fn verified(message: &[u8], signature: &[u8]) -> bool {
    let key = test_key();
    let public = key.inner.public_key().unwrap();
    // The last 65 bytes are the point, the others say what it is.
    let point = &public.as_ref()[public.as_ref().len() - 65..];
    let algorithms = default_provider().signature_verification_algorithms;
    let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
    let (_, found) = algorithms
        .mapping
        .iter()
        .find(|(known, _)| *known == scheme)
        .unwrap();
    let p256 = found
        .iter()
        .find(|algorithm| algorithm.public_key_alg_id() == rustls::pki_types::alg_id::ECDSA_P256)
        .unwrap();
    p256.verify_signature(point, message, signature).is_ok()
}

#[test]
fn signatures_of_both_kinds_of_pem_hold() {
    let signed_by_openssl = STANDARD.decode(SIGNED_BY_OPENSSL).unwrap();
    assert!(
        verified(b"stackctl", &signed_by_openssl),
        "the check itself"
    );
    for (label, content) in [("PRIVATE KEY", P256), ("EC PRIVATE KEY", SEC1)] {
        let key = key(label, content).unwrap();
        assert_eq!(key.public_pem(), PUBLIC);
        let signature = key.sign(b"message").unwrap();
        assert!(verified(b"message", &signature));
        assert!(!verified(b"massage", &signature));
    }
}

#[test]
fn what_cannot_sign_is_refused_with_advice() {
    let with_header = format!("Proc-Type: 4,ENCRYPTED\n\n{SEC1}");
    for (label, content, code, hint) in [
        ("PRIVATE KEY", P384, "S0461", "openssl genpkey"),
        ("PRIVATE KEY", ED25519, "S0461", "openssl genpkey"),
        ("PRIVATE KEY", "AAAA", "S0461", "openssl genpkey"),
        ("PUBLIC KEY", P256, "S0461", "openssl genpkey"),
        ("ENCRYPTED PRIVATE KEY", P256, "S0462", "openssl pkey -in"),
        ("EC PRIVATE KEY", &with_header, "S0462", "openssl pkey -in"),
        (
            "ENCRYPTED SIGSTORE PRIVATE KEY",
            "e30=",
            "S0462",
            "cosign import-key-pair",
        ),
        (
            "ENCRYPTED COSIGN PRIVATE KEY",
            "e30=",
            "S0462",
            "cosign import-key-pair",
        ),
    ] {
        let error = key(label, content).unwrap_err();
        let found = error.diagnostics().remove(0);
        assert_eq!(found.code.as_str(), code, "{label}");
        assert!(
            found.hints.iter().any(|text| text.contains(hint)),
            "{label}: {found:?}"
        );
        assert!(
            found.message.contains("`$SIGNING_KEY`"),
            "{label}: {}",
            found.message
        );
        let shown = format!("{error:?} {found:?}");
        assert!(
            !content
                .lines()
                .any(|line| line.len() > 8 && shown.contains(line)),
            "{label}"
        );
    }
    assert!(Key::from_pem(b"", &place()).is_err());
    assert!(Key::from_pem(&[0xff, 0xfe], &place()).is_err());
}

#[test]
fn a_key_shows_nothing_of_itself() {
    assert_eq!(format!("{:?}", test_key()), "Key(…)");
}

#[test]
fn keys_are_in_files_and_in_variables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signing.pem");
    let source: KeySource = path.to_str().unwrap().parse().unwrap();
    assert_eq!(source, KeySource::File(path.clone()));
    assert_eq!(
        Key::load(&source).unwrap_err().diagnostics()[0]
            .code
            .as_str(),
        "S0460"
    );
    std::fs::write(&path, pem("PRIVATE KEY", P256)).unwrap();
    assert_eq!(Key::load(&source).unwrap().public_pem(), PUBLIC);
    let variable: KeySource = "env:STACKCTL_NO_SUCH_KEY".parse().unwrap();
    let error = Key::load(&variable).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the signing key `$STACKCTL_NO_SUCH_KEY` is not set"
    );
}
