//! The import order of the modules of `src/`: an arrow never points up, and
//! what is to be pure names nothing that does I/O. The tables are the rule;
//! `ARCHITECTURE.md` tells the reasons.

use super::source::{self, PathUse};
use super::{SourceFile, Violation};

/// A top-level module of `src/`.
struct Module {
    name: &'static str,
    /// It may use every module of a lower layer.
    layer: u8,
    /// And these of its own.
    siblings: &'static [&'static str],
}

const fn module(name: &'static str, layer: u8, siblings: &'static [&'static str]) -> Module {
    Module {
        name,
        layer,
        siblings,
    }
}

const MODULES: [Module; 27] = [
    module("diagnostic", 0, &[]),
    module("name", 0, &[]),
    module("event", 1, &[]),
    module("secret", 1, &[]),
    module("yaml", 1, &["secret"]),
    module("timings", 1, &[]),
    module("attest", 2, &[]),
    module("stack", 2, &[]),
    module("manifest", 3, &[]),
    module("readiness", 3, &[]),
    module("image", 3, &[]),
    module("cluster", 3, &["manifest"]),
    module("template", 3, &["manifest"]),
    module("diagnosis", 3, &["manifest", "readiness"]),
    module("plan", 4, &[]),
    module("delivery", 4, &[]),
    module("execute", 5, &[]),
    module("forward", 5, &[]),
    module("logs", 5, &[]),
    module("verify", 6, &[]),
    module("cli", 7, &[]),
    module("settings", 8, &[]),
    module("commands", 9, &[]),
    module("ui", 10, &[]),
    module("run", 11, &[]),
    module("lib", 12, &[]),
    module("main", 13, &[]),
];

/// Modules without I/O, and their files that may do it.
const PURE: [(&str, &[&str]); 13] = [
    ("diagnostic", &[]),
    ("name", &[]),
    ("event", &[]),
    ("secret", &[]),
    ("timings", &["src/timings/write.rs"]),
    ("yaml", &[]),
    ("attest", &["src/attest/git.rs", "src/attest/key.rs"]),
    ("stack", &["src/stack/load.rs"]),
    ("template", &["src/template/load.rs"]),
    ("manifest", &[]),
    ("readiness", &[]),
    ("diagnosis", &[]),
    ("plan", &[]),
];

/// What a pure module does not name outside its tests.
const IMPURE: [&[&str]; 8] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "process", "Command"],
    &["tokio"],
    &["kube"],
    &["bollard"],
    &["reqwest"],
    &["tracing"],
];

/// Where other programs are started: compiling, loading, asking git and the
/// like. Anywhere else it is a second way to do something.
const STARTERS: [&str; 4] = [
    "src/attest/git.rs",
    "src/image/",
    "src/delivery/",
    "src/commands/init/",
];

/// The violations of one file; files outside `src/` have none.
pub(super) fn check(file: &SourceFile) -> Vec<Violation> {
    let Some(own_path) = module_path(&file.path) else {
        return Vec::new();
    };
    let name = own_path.first().map_or("lib", String::as_str);
    // Only the roots have no module of their own.
    let name = if file.path == "src/main.rs" {
        "main"
    } else {
        name
    };
    let violation = |line, message| Violation {
        path: file.path.clone(),
        line,
        message,
    };
    let Some(own) = find(name) else {
        let message =
            format!("module `{name}` is not in the table of layers (xtask/src/tidy/layers.rs)");
        return vec![violation(1, message)];
    };
    let mut violations: Vec<Violation> = source::paths(&file.text, &own_path)
        .iter()
        .filter_map(|path| {
            let message = if path.local {
                edge(own, path)
            } else {
                purity(own, file, path).or_else(|| start(file, path))
            };
            Some(violation(path.line, message?))
        })
        .collect();
    violations.dedup();
    violations
}

fn find(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.name == name)
}

/// `["plan", "diff"]` for `src/plan/diff.rs`.
fn module_path(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let parts = path.split('/').map(String::from);
    Some(
        parts
            .filter(|part| part != "lib" && part != "main")
            .collect(),
    )
}

/// What is wrong with a path inside the crate.
fn edge(own: &Module, path: &PathUse) -> Option<String> {
    let target = path.segments.first()?;
    if target == own.name || matches!(own.name, "lib" | "main") {
        return None;
    }
    let Some(used) = find(target) else {
        return Some(format!(
            "`{}` names `crate::{target}`, which is not in the table of layers (xtask/src/tidy/layers.rs)",
            own.name
        ));
    };
    if used.layer < own.layer || own.siblings.contains(&used.name) {
        return None;
    }
    let relation = if used.layer == own.layer {
        "beside"
    } else {
        "above"
    };
    Some(format!(
        "`{}` may not use `{target}`, which is {relation} it",
        own.name
    ))
}

/// What is wrong with a path outside the crate.
fn purity(own: &Module, file: &SourceFile, path: &PathUse) -> Option<String> {
    let (_, exceptions) = PURE.iter().find(|(name, _)| *name == own.name)?;
    if is_test(file, path) || exceptions.contains(&file.path.as_str()) {
        return None;
    }
    let named = |impure: &&&[&str]| {
        path.segments.len() >= impure.len()
            && impure.iter().zip(&path.segments).all(|(a, b)| a == b)
    };
    let impure = IMPURE.iter().find(named)?;
    Some(format!(
        "`{}` does no I/O: it may not use `{}`",
        own.name,
        impure.join("::")
    ))
}

/// What is wrong with starting a program here.
fn start(file: &SourceFile, path: &PathUse) -> Option<String> {
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    let names_command = matches!(
        segments.as_slice(),
        ["std" | "tokio", "process", "Command", ..]
    );
    let allowed = STARTERS.iter().any(|start| file.path.starts_with(start));
    if !names_command || allowed || is_test(file, path) {
        return None;
    }
    Some(format!(
        "programs are started in {} alone",
        STARTERS.join(", ")
    ))
}

fn is_test(file: &SourceFile, path: &PathUse) -> bool {
    let is_test_file = |part| matches!(part, "tests" | "tests.rs");
    path.in_tests || file.path.split('/').any(is_test_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&file).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn downwards_and_inwards_is_allowed() {
        let text = "use crate::stack::Stack;\nuse super::graph::Graph;\nuse crate::plan::Change;\n";
        assert_eq!(messages("src/plan/diff.rs", text), [""; 0]);
        assert_eq!(
            messages("src/diagnosis/mod.rs", "use crate::readiness::Readiness;"),
            [""; 0]
        );
        assert_eq!(
            messages("src/lib.rs", "use crate::ui::Ui; mod plan;"),
            [""; 0]
        );
        assert_eq!(
            messages("services/x/src/lib.rs", "use crate::anything::X;"),
            [""; 0]
        );
    }

    #[test]
    fn upwards_is_found_in_every_spelling() {
        let cases = [
            "use crate::commands::up;",
            "use crate::{stack::Stack, commands};",
            "fn f() { crate::commands::up::run() }",
            "use super::super::commands::up;",
            "#[cfg(test)] mod tests { use super::super::super::commands; }",
        ];
        for text in cases {
            let expected = "src/plan/diff.rs:1: `plan` may not use `commands`, which is above it";
            assert_eq!(messages("src/plan/diff.rs", text), [expected], "{text}");
        }
    }

    #[test]
    fn siblings_are_kept_apart_but_for_the_named_ones() {
        let found = messages("src/readiness/pod.rs", "use crate::diagnosis::Cause;");
        let expected =
            "src/readiness/pod.rs:1: `readiness` may not use `diagnosis`, which is beside it";
        assert_eq!(found, [expected]);
        assert_eq!(
            messages("src/template/mod.rs", "use crate::manifest::Object;"),
            [""; 0]
        );
    }

    #[test]
    fn settings_are_above_the_arguments_and_below_the_commands() {
        assert_eq!(
            messages("src/settings.rs", "use crate::cli::Args;"),
            [""; 0]
        );
        assert_eq!(
            messages("src/commands/up.rs", "use crate::settings::Up;"),
            [""; 0]
        );
        assert_eq!(
            messages("src/settings.rs", "use crate::commands::up;").len(),
            1
        );
        assert_eq!(
            messages("src/cli/mod.rs", "use crate::settings::Up;").len(),
            1
        );
    }

    #[test]
    fn an_unknown_module_must_get_its_place() {
        assert_eq!(messages("src/novel.rs", "//! New.").len(), 1);
        assert_eq!(messages("src/plan/mod.rs", "use crate::novel::X;").len(), 1);
    }

    #[test]
    fn a_pure_module_may_do_io_in_its_tests_and_its_named_file_alone() {
        let text = "//! X\nuse std::{fmt, fs};\nfn f() { tokio::spawn(g()) }";
        let expected = [
            "src/stack/model.rs:2: `stack` does no I/O: it may not use `std::fs`",
            "src/stack/model.rs:3: `stack` does no I/O: it may not use `tokio`",
        ];
        assert_eq!(messages("src/stack/model.rs", text), expected);
        assert_eq!(messages("src/stack/load.rs", "use std::fs;"), [""; 0]);
        assert_eq!(
            messages("src/cluster/objects.rs", "use kube::Client;"),
            [""; 0]
        );
        let test = "#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(messages("src/stack/model.rs", test), [""; 0]);
    }

    #[test]
    fn programs_are_started_in_named_places_and_in_tests() {
        let text = "use tokio::process::Command;";
        assert_eq!(messages("src/forward/dial.rs", text).len(), 1);
        assert_eq!(
            messages(
                "src/commands/up.rs",
                "fn f() { std::process::Command::new(x) }"
            )
            .len(),
            1
        );
        assert_eq!(messages("src/delivery/kind.rs", text), [""; 0]);
        assert_eq!(messages("src/forward/tests.rs", text), [""; 0]);
        assert_eq!(
            messages("src/forward/dial.rs", "use std::process::ExitCode;"),
            [""; 0]
        );
    }
}
