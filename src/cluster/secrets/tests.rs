//! Tests of where secrets come from, and of generated ones under races.

use serde_json::json;
use test_support::kubernetes::{Kubernetes, Script, namespace};

use super::*;
use crate::cluster::model_for_tests::stack;
use crate::diagnostic::SourceFile;
use crate::stack::Secret;

const PATH: &str = "/api/v1/namespaces/shop/secrets/shop-generated";
const ALL: &str = "/api/v1/namespaces/shop/secrets";

fn with(sources: &[(&str, SecretSource)]) -> Stack {
    let mut stack = stack();
    let file = SourceFile::new("environments/local.yaml", "secrets: { password: x }\n");
    for (name, source) in sources {
        let secret = Secret {
            source: source.clone(),
            span: Span::new(&file, 11..19),
        };
        stack
            .environment
            .secrets
            .insert(name.parse().unwrap(), secret);
    }
    stack
}

fn generated() -> Stack {
    with(&[("password", SecretSource::Generate(32))])
}

fn cluster() -> Kubernetes {
    let kubernetes = Kubernetes::new();
    kubernetes.insert(&namespace("shop"));
    kubernetes
}

fn value(resolved: &ResolvedSecrets, name: &str) -> String {
    resolved.values[name].expose().to_owned()
}

#[tokio::test]
async fn a_generated_value_is_made_once() {
    let kubernetes = cluster();
    let first = resolve(&generated(), &kubernetes.client(), true)
        .await
        .unwrap();
    let password = value(&first, "password");
    assert_eq!(password.len(), 32);
    assert!(password.chars().all(|c| c.is_ascii_alphanumeric()));
    let kept = kubernetes.object(PATH).unwrap();
    assert_eq!(kept["metadata"]["labels"][PART_OF], "shop");

    let mut longer = generated();
    longer
        .environment
        .secrets
        .get_mut("password")
        .unwrap()
        .source = SecretSource::Generate(64);
    let second = resolve(&longer, &kubernetes.client(), true).await.unwrap();
    assert_eq!(value(&second, "password"), password, "never overwritten");
    assert_eq!(second.key, first.key);
    assert_eq!(kubernetes.writes(), [format!("POST {ALL}")]);
    assert!(!format!("{first:?}").contains(&password));
}

#[tokio::test]
async fn a_new_secret_is_added_to_those_that_are_kept() {
    let kubernetes = cluster();
    let first = resolve(&generated(), &kubernetes.client(), true)
        .await
        .unwrap();
    let both = with(&[
        ("password", SecretSource::Generate(32)),
        ("token", SecretSource::Generate(8)),
    ]);
    let second = resolve(&both, &kubernetes.client(), true).await.unwrap();
    assert_eq!(value(&second, "password"), value(&first, "password"));
    assert_eq!(value(&second, "token").len(), 8);
    let third = resolve(&both, &kubernetes.client(), true).await.unwrap();
    assert_eq!(value(&third, "token"), value(&second, "token"));
}

#[tokio::test(start_paused = true)]
async fn of_two_runs_that_generate_together_the_first_wins() {
    let kubernetes = cluster();
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop-generated", "namespace": "shop"},
        "data": {"password": "dGhlaXJz", "stackctl-hash-key": "a2V5"},
    });
    kubernetes.script(
        "POST",
        ALL,
        Script::Before(Box::new(move |cluster| cluster.insert(&theirs))),
    );
    let resolved = resolve(&generated(), &kubernetes.client(), true)
        .await
        .unwrap();
    assert_eq!(value(&resolved, "password"), "theirs");
    assert_eq!(resolved.key, HashKey::new("key"));
}

#[tokio::test(start_paused = true)]
async fn of_two_runs_that_add_together_no_value_is_lost() {
    let kubernetes = cluster();
    resolve(&generated(), &kubernetes.client(), true)
        .await
        .unwrap();
    let kept = kubernetes.object(PATH).unwrap();
    kubernetes.script(
        "PATCH",
        PATH,
        Script::Before(Box::new(move |cluster| {
            let mut theirs = kept;
            theirs["data"]["token"] = json!("dGhlaXJz");
            cluster.insert(&theirs);
        })),
    );
    let both = with(&[
        ("password", SecretSource::Generate(32)),
        ("token", SecretSource::Generate(8)),
    ]);
    let resolved = resolve(&both, &kubernetes.client(), true).await.unwrap();
    assert_eq!(value(&resolved, "token"), "theirs");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_gets_lost_does_not_make_a_second_value() {
    let kubernetes = cluster();
    kubernetes.script("POST", ALL, Script::Break);
    let resolved = resolve(&generated(), &kubernetes.client(), true)
        .await
        .unwrap();
    let again = resolve(&generated(), &kubernetes.client(), true)
        .await
        .unwrap();
    assert_eq!(value(&resolved, "password"), value(&again, "password"));
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let kubernetes = Kubernetes::new();
    let resolved = resolve(&generated(), &kubernetes.client(), false)
        .await
        .unwrap();
    assert_eq!(value(&resolved, "password").len(), 32);
    assert_eq!(kubernetes.writes(), Vec::<String>::new());
    let error = resolve(&generated(), &kubernetes.client(), true)
        .await
        .unwrap_err();
    assert!(matches!(error, SecretError::NoNamespace(name) if name == "shop"));
}

#[tokio::test]
async fn a_stack_without_secrets_asks_nothing() {
    let kubernetes = cluster();
    let resolved = resolve(&stack(), &kubernetes.client(), true).await.unwrap();
    assert!(resolved.values.is_empty());
    assert_eq!(kubernetes.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn what_checks_use_is_read_and_never_made() {
    let kubernetes = cluster();
    let both = with(&[
        ("password", SecretSource::Generate(32)),
        ("unset", SecretSource::Env("STACKCTL_TEST_UNSET".into())),
    ]);
    let wanted = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    let error = current(&both, &kubernetes.client(), &wanted(&["password"]))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "secret `password` has no value: it was not generated yet"
    );
    assert_eq!(
        error.diagnostics()[0].labels.len(),
        1,
        "where it is declared"
    );

    let made = resolve(&generated(), &kubernetes.client(), true).await;
    let writes = kubernetes.writes();
    let values = current(&both, &kubernetes.client(), &wanted(&["password"])).await;
    assert_eq!(
        values.unwrap()["password"],
        made.unwrap().values["password"]
    );
    assert_eq!(kubernetes.writes(), writes);

    let error = current(&both, &kubernetes.client(), &wanted(&["unset"])).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "secret `unset` has no value: the environment variable `STACKCTL_TEST_UNSET` is not set"
    );
    let requests = kubernetes.requests().len();
    let none = current(&both, &kubernetes.client(), &wanted(&[])).await;
    assert!(none.unwrap().is_empty());
    assert_eq!(kubernetes.requests().len(), requests, "nothing was asked");
}

#[test]
fn variables_and_files_give_values_and_all_problems_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("one", "abc\n"),
        ("two", "abc\r\n"),
        ("three", "abc\n\n"),
        ("empty", "\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("binary"), [0xff]).unwrap();
    let file = |name: &str| SecretSource::File(name.into());
    let mut good = with(&[
        ("one", file("one")),
        ("two", file("two")),
        ("three", file("three")),
        ("four", SecretSource::Env("FOUR".into())),
    ]);
    good.root = folder.path().to_owned();
    let values = from_caller(
        &good,
        |_| true,
        |name| (name == "FOUR").then(|| "x ".into()),
    )
    .unwrap();
    let shown: Vec<&str> = values.values().map(SecretValue::expose).collect();
    assert_eq!(
        shown,
        ["x ", "abc", "abc\n", "abc"],
        "four, one, three, two"
    );

    let mut bad = with(&[
        ("a", SecretSource::Env("UNSET".into())),
        ("b", SecretSource::Env("EMPTY".into())),
        ("c", file("missing")),
        ("d", file("empty")),
        ("e", file("binary")),
    ]);
    bad.root = folder.path().to_owned();
    let error = from_caller(
        &bad,
        |_| true,
        |name| (name == "EMPTY").then(Default::default),
    )
    .unwrap_err();
    assert_eq!(error.exit(), Exit::BadInput);
    let problems = error.diagnostics();
    let messages: Vec<&str> = problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(
        messages[0],
        "secret `a` has no value: the environment variable `UNSET` is not set"
    );
    assert_eq!(
        messages[1],
        "secret `b` has no value: the environment variable `EMPTY` is empty"
    );
    assert!(
        messages[2].starts_with("secret `c` has no value: the file `missing` cannot be read: ")
    );
    assert_eq!(
        messages[3],
        "secret `d` has no value: the file `empty` is empty"
    );
    assert_eq!(
        messages[4],
        "secret `e` has no value: the file `binary` is not UTF-8"
    );
    assert_eq!(
        problems[0].labels[0].span.to_string(),
        "environments/local.yaml:1:12"
    );
}

#[test]
fn generated_text_uses_every_letter_and_no_other() {
    let text = random_text(10_000);
    assert_eq!(text.len(), 10_000);
    let distinct: std::collections::BTreeSet<char> = text.chars().collect();
    assert_eq!(distinct.len(), 62);
    assert_ne!(random_text(32), random_text(32));
}
