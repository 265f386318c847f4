//! `stackctl init` and what can be done with its result without a cluster.

use crate::workspace::Workspace;

#[test]
fn a_new_stack_is_valid() {
    let workspace = Workspace::empty();
    let run = workspace.run(&["init", "shop", "--name", "corner-shop"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("stackctl up"),
        "the next step is named: {}",
        run.stderr
    );
    let stack =
        std::fs::read_to_string(workspace.path().join("shop/stack.yaml")).expect("stack.yaml");
    assert!(stack.starts_with("name: corner-shop\n"), "{stack}");
}

#[test]
fn nothing_is_overwritten() {
    let workspace = Workspace::new();
    let before = workspace.contents();
    let run = workspace.run(&["init", ".", "--name", "shop"]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("error[S0150]") && run.stderr.contains("stack.yaml"),
        "{}",
        run.stderr
    );
    assert_eq!(workspace.contents(), before);
}
