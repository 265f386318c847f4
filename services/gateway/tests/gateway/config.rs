//! Variables that cannot be used: all of them are named, secrets are not shown.

use gateway::refused;

#[test]
fn every_fault_is_reported_at_once() {
    let output = refused(&[
        ("PORT", "http"),
        ("MAX_BODY_BYTES", "10MB"),
        ("RATE_LIMIT", "5"),
        ("TRUSTED_NETWORKS", "10.0.0.0/8 everyone"),
        ("API_KEYS", "short-secret"),
        ("BASIC_AUTH", "hunter2"),
        ("PICTURE_ADDRESS", ""),
        ("COUNTER_ADDRESS", "counter"),
        ("UPLOAD_ADDRESS", "up load:80"),
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "gateway: 9 environment variables cannot be used\n  \
        PORT: found `http`, expected a number from 1 to 65535\n  \
        MAX_BODY_BYTES: found `10MB`, expected a number from 1024 to 2147483647\n  \
        RATE_LIMIT: found `5`, expected 0 or a number from 10 to 1000000\n  \
        TRUSTED_NETWORKS: found `everyone`, expected addresses or networks such as 10.0.0.0/8\n  \
        API_KEYS: found a value (not shown, it holds a secret), expected up to 32 keys of 16 to 256 characters of \
        A-Z a-z 0-9 . _ ~ + / = -, separated by spaces or commas\n  \
        BASIC_AUTH: found a value (not shown, it holds a secret), expected USER:PASSWORD, the user of A-Z a-z 0-9 . _ \
        @ -, the password of 8 to 256 printable ASCII characters\n  \
        PICTURE_ADDRESS: not set, expected HOST:PORT\n  \
        UPLOAD_ADDRESS: found `up load:80`, expected HOST:PORT\n  \
        COUNTER_ADDRESS: found `counter`, expected HOST:PORT\n";
    assert_eq!(said, expected);
}

#[test]
fn each_variable_is_checked() {
    let keys: Vec<String> = (0..33).map(|n| format!("key-number-{n:08}")).collect();
    let keys = keys.join(" ");
    for (name, value) in [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "080"),
        ("PORT", "80 80"),
        ("PORT", "80\n80"),
        ("PORT", "99999999999999999999"),
        ("METRICS_PORT", "-1"),
        ("MAX_CONNECTIONS", "9"),
        ("REQUEST_SECONDS", "0"),
        ("DRAIN_SECONDS", "3601"),
        ("RATE_LIMIT", "-1"),
        ("RATE_LIMIT", "many"),
        ("TRUSTED_NETWORKS", "10.0.0.0/8;all"),
        ("TRUSTED_NETWORKS", "*"),
        ("API_KEYS", "with\"quote-01234567"),
        ("API_KEYS", "${HOME}-0123456789"),
        ("API_KEYS", keys.as_str()),
        ("BASIC_AUTH", "ann:short"),
        ("BASIC_AUTH", ":no user, only this"),
        ("BASIC_AUTH", "ann:two\nlines of it"),
        ("COUNTER_ADDRESS", "counter:65536"),
        ("COUNTER_ADDRESS", "counter:8080 check"),
        ("COUNTER_ADDRESS", "-counter:80"),
    ] {
        let output = refused(&[(name, value)]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {said}");
        assert!(said.contains(name), "{name}={value}: {said}");
        let is_secret = ["API_KEYS", "BASIC_AUTH"].contains(&name);
        assert!(!is_secret || !said.contains(value), "{said}");
    }
}

#[test]
fn what_is_usable_is_used() {
    for variables in [
        &[][..],
        &[("TRUSTED_NETWORKS", "10.0.0.0/8,2001:db8::/32 192.0.2.1")],
        &[("RATE_LIMIT", "0"), ("DRAIN_SECONDS", "0")],
        &[("COUNTER_ADDRESS", "counter.elsewhere.example:80")],
    ] {
        let output = refused(variables);
        let said = String::from_utf8(output.stderr).unwrap();
        // It became HAProxy, which does not find its configuration.
        assert_eq!(output.status.code(), Some(1), "{variables:?}: {said}");
        assert!(said.contains("/nonexistent"), "{said}");
    }
}
