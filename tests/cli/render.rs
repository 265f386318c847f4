//! `render` and `validate`: what goes to stdout, and what never does.

use crate::workspace::Workspace;

#[test]
fn manifests_go_to_stdout_and_secrets_do_not() {
    let run = Workspace::new().run(&["render"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for words in [
        "kind: Deployment\n",
        "kind: Service\n",
        "kind: PodDisruptionBudget\n",
        "app.kubernetes.io/part-of: shop\n",
        "app.kubernetes.io/managed-by: stackctl\n",
        "namespace: shop\n",
        "image: web:1\n",
        "replicas: 2\n",
        "LOG_LEVEL: info\n",
        "<secret db-password>",
        "readOnlyRootFilesystem: true\n",
        "enableServiceLinks: false\n",
    ] {
        assert!(
            run.stdout.contains(words),
            "{words:?} is missing in\n{}",
            run.stdout
        );
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let workspace = Workspace::new();
    assert_eq!(
        workspace.run(&["render"]).stdout,
        workspace.run(&["render"]).stdout
    );
}

#[test]
fn one_service_can_be_rendered_alone() {
    let run = Workspace::new().run(&["render", "-s", "db"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("image: db:1\n") && !run.stdout.contains("image: web:1\n"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_disabled_service_is_not_rendered() {
    let workspace = Workspace::new();
    workspace.write(
        "environments/local.yaml",
        "extends: base\ncluster: local\nservices: { web: { enabled: false } }\n",
    );
    let run = workspace.run(&["render"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("image: db:1\n") && !run.stdout.contains("image: web:1\n"),
        "{}",
        run.stdout
    );
    let run = workspace.run(&["render", "-s", "web"]);
    assert_eq!(run.code, 2, "{}", run.stdout);
    for words in [
        "web is disabled in the environment `local`",
        "environments/local.yaml:3:29",
    ] {
        assert!(run.stderr.contains(words), "{words:?}: {}", run.stderr);
    }
}

#[test]
fn a_folder_gets_a_file_for_each_service() {
    let workspace = Workspace::new();
    let run = workspace.run(&["render", "--to", "out"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    let web = std::fs::read_to_string(workspace.path().join("out/web.yaml")).expect("out/web.yaml");
    assert!(
        web.contains("kind: Deployment\n") && web.contains("image: web:1\n"),
        "{web}"
    );
}

#[test]
fn an_older_kubernetes_gets_what_it_serves() {
    let workspace = Workspace::new();
    assert!(
        workspace
            .run(&["render"])
            .stdout
            .contains("apiVersion: policy/v1\n")
    );
    let old = workspace.run(&["render", "--target", "1.20"]);
    assert!(
        old.stdout.contains("apiVersion: policy/v1beta1\n"),
        "{}{}",
        old.stdout,
        old.stderr
    );
}

#[test]
fn the_source_of_each_value_is_shown() {
    let run = Workspace::new().run(&["render", "--source"]);
    let replicas = run
        .stdout
        .lines()
        .find(|line| line.trim_start().starts_with("replicas: 2"))
        .expect("replicas");
    assert!(
        replicas.contains("templates/service/deployment.yaml.hbs:"),
        "{replicas}"
    );
    assert!(
        replicas.contains("services/web/service.yaml:9"),
        "{replicas}"
    );
}

#[test]
fn values_cannot_break_out_of_their_place() {
    let workspace = Workspace::new();
    let evil = "info\\\"\\n  evil: true # {{namespace}}";
    workspace.write(
        "stack.yaml",
        format!("name: shop\nservices: [web, db]\nvalues: {{ log_level: \"{evil}\" }}\n"),
    );
    let run = workspace.run(&["render", "-s", "web"]);
    // A line break belongs into a block scalar: in an environment variable it is refused, not smuggled in.
    assert_eq!(run.code, 2, "{}", run.stdout);
    assert!(run.stderr.contains("error[S02"), "{}", run.stderr);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let workspace = Workspace::new();
    let script = format!(
        "{} render | head -1; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_stackctl")
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(workspace.path())
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn validate_says_what_it_checked() {
    let run = Workspace::new().run(&["validate"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("objects"), "{}", run.stderr);
    let json = Workspace::new().run(&["validate", "--output", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON on stdout");
    assert_eq!(value["version"], 1);
    assert_eq!(value["problems"], serde_json::json!([]));
}
