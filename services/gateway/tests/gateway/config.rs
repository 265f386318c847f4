//! Variables that cannot be used: all of them are named, secrets are not shown.

use gateway::refused;

use crate::start;

#[test]
fn every_fault_is_reported_at_once() {
    let output = refused(&[
        ("PORT", "http"),
        ("MAX_BODY_BYTES", "10MB"),
        ("RATE_LIMIT", "5"),
        ("TRUSTED_NETWORKS", "10.0.0.0/8 everyone"),
        ("API_KEYS", "short-secret"),
        ("BASIC_AUTH", "hunter2"),
        ("PICTURE_ADDRESS", ":8080"),
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
        PICTURE_ADDRESS: found `:8080`, expected HOST:PORT\n  \
        UPLOAD_ADDRESS: found `up load:80`, expected HOST:PORT\n  \
        COUNTER_ADDRESS: found `counter`, expected HOST:PORT\n";
    assert_eq!(said, expected);
}

#[test]
fn each_variable_is_checked() {
    let keys: Vec<String> = (0..33).map(|n| format!("key-number-{n:08}")).collect();
    let keys = keys.join(" ");
    let long = format!("{}.example:80", "l".repeat(64));
    for (name, value) in [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "080"),
        ("PORT", "80 80"),
        ("PORT", "80\n80"),
        ("PORT", "80\n"),
        ("PORT", "99999999999999999999"),
        ("METRICS_PORT", "-1"),
        ("METRICS_PORT", "8080"),
        ("MAX_CONNECTIONS", "9"),
        ("REQUEST_SECONDS", "0"),
        ("DRAIN_SECONDS", "3601"),
        ("RATE_LIMIT", "-1"),
        ("RATE_LIMIT", "many"),
        ("RATE_LIMIT", "9"),
        ("RATE_LIMIT", "1000001"),
        ("RATE_LIMIT", "020"),
        ("RATE_LIMIT", "20\n20"),
        ("TRUSTED_NETWORKS", "10.0.0.0/8;all"),
        ("TRUSTED_NETWORKS", "*"),
        ("TRUSTED_NETWORKS", "999.1.1.1"),
        ("TRUSTED_NETWORKS", "10.0.0.0/99"),
        ("TRUSTED_NETWORKS", "10.0.0.0/8 010.0.0.1"),
        ("TRUSTED_NETWORKS", ":"),
        ("TRUSTED_NETWORKS", "a:b"),
        ("TRUSTED_NETWORKS", "1::2::3"),
        ("TRUSTED_NETWORKS", "2001:db8::/129"),
        ("TRUSTED_NETWORKS", "2001:db8::/"),
        ("TRUSTED_NETWORKS", "localhost"),
        ("API_KEYS", "with\"quote-01234567"),
        ("API_KEYS", "${HOME}-0123456789"),
        ("API_KEYS", keys.as_str()),
        ("BASIC_AUTH", "ann:short"),
        ("BASIC_AUTH", ":no user, only this"),
        ("BASIC_AUTH", "ann:two\nlines of it"),
        ("BASIC_AUTH", "ann:first password\nbob:other password"),
        ("COUNTER_ADDRESS", "counter:65536"),
        ("COUNTER_ADDRESS", "counter:8080 check"),
        ("COUNTER_ADDRESS", "-counter:80"),
        ("COUNTER_ADDRESS", "a..b:80"),
        ("COUNTER_ADDRESS", "a.-b:80"),
        ("COUNTER_ADDRESS", "a:80\nb:80"),
        ("COUNTER_ADDRESS", long.as_str()),
    ] {
        let output = refused(&[(name, value)]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {said}");
        let lines: Vec<&str> = said.lines().collect();
        let [first, second] = lines[..] else {
            panic!("{name}={value}: {said}");
        };
        assert_eq!(first, "gateway: 1 environment variable cannot be used");
        assert!(second.starts_with(&format!("  {name}: ")), "{said}");
        let is_secret = ["API_KEYS", "BASIC_AUTH"].contains(&name);
        assert!(!is_secret || !said.contains(value), "{said}");
    }
}

#[tokio::test]
async fn what_is_usable_is_used() {
    let keys: Vec<String> = (0..32).map(|n| format!("key-number-{n:08}")).collect();
    let label = "l".repeat(63);
    let name = format!("{label}.elsewhere.invalid:65535");
    for variables in [
        &[][..],
        &[(
            "TRUSTED_NETWORKS",
            "10.0.0.0/8,2001:db8::/32\n192.0.2.1 ::1 0.0.0.0/0 255.255.255.255/32 ::ffff:192.0.2.1/128",
        )],
        &[("RATE_LIMIT", "0"), ("DRAIN_SECONDS", "0")],
        &[("RATE_LIMIT", "10"), ("MAX_BODY_BYTES", "2147483647")],
        &[("RATE_LIMIT", "1000000"), ("REQUEST_SECONDS", "3600")],
        &[("API_KEYS", &keys.join(",\n"))],
        &[("BASIC_AUTH", "ann.b@c_d-e:~ !\"$'\\`%[]")],
        &[("COUNTER_ADDRESS", &name)],
    ] {
        let gateway = start!(variables);
        let answer = gateway.internal().get("/readyz", &[]).await;
        assert_eq!(answer.status, 200, "{variables:?}");
    }
}
