//! What a real process says about an environment that it cannot use.

use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// The exit code, and all that was said.
async fn fails(variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_upload"))
        .env_clear()
        .env("PORT", "0")
        .envs(variables.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(20), output).await;
    let output = output.expect("it started").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn keys_in_the_url_are_refused_and_not_shown() {
    let (code, said) = fails(&[("STORE_URL", "s3://AKIA:hunter2@bucket/folder")]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("STORE_URL: found a value (not shown"),
        "{said}"
    );
    assert!(said.contains("without user, password"), "{said}");
    assert!(
        !said.contains("hunter2") && !said.contains("AKIA"),
        "{said}"
    );
}

#[tokio::test]
async fn faults_of_s3_are_said_with_all_others() {
    let (code, said) = fails(&[
        ("STORE_URL", "s3://bucket/folder"),
        ("N_WORKERS", "0"),
        ("AWS_ALLOW_HTTP", "maybe"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ])
    .await;
    assert_eq!(code, Some(2), "{said}");
    for name in ["N_WORKERS", "AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID"] {
        assert!(said.contains(&format!("  {name}: ")), "{name}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}
