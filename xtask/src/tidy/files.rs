//! Rules for each Rust file by itself: its first line, its length, its name.

use super::{SourceFile, Violation};

const LONGEST: usize = 800;

/// Names that say nothing about what is inside.
const DRAWERS: [&str; 6] = ["utils", "util", "misc", "common", "helpers", "helper"];

/// The violations of one file.
pub(super) fn check(file: &SourceFile) -> Vec<Violation> {
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let found = |line, message| Violation {
        path: file.path.clone(),
        line,
        message,
    };
    let mut violations = Vec::new();
    if !file.text.starts_with("//!") {
        let message = "the first line must be `//!` and say what the file is".to_owned();
        violations.push(found(1, message));
    }
    let lines = file.text.lines().count();
    if lines > LONGEST {
        let message = format!("{lines} lines, more than {LONGEST}: split it by concept");
        violations.push(found(LONGEST + 1, message));
    }
    let parts = file.path.trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| DRAWERS.contains(part)) {
        let message = format!("`{part}` is a drawer: name it after what is inside");
        violations.push(found(1, message));
    }
    violations
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
    fn a_tidy_file_passes() {
        assert_eq!(messages("src/plan/diff.rs", "//! Differences.\n"), [""; 0]);
        assert_eq!(messages("Cargo.toml", "[package]\n"), [""; 0]);
    }

    #[test]
    fn a_file_without_its_first_line_is_found() {
        let found = messages("src/plan.rs", "use std::fs;\n//! Late.\n");
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("src/plan.rs:1: the first line"),
            "{found:?}"
        );
    }

    #[test]
    fn the_801st_line_is_one_too_many() {
        let text = format!("//! Long.\n{}", "\n".repeat(799));
        assert_eq!(messages("src/plan.rs", &text), [""; 0]);
        let found = messages("src/plan.rs", &format!("{text}\n"));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("src/plan.rs:801: 801 lines"),
            "{found:?}"
        );
    }

    #[test]
    fn a_drawer_is_found_as_file_and_as_folder() {
        for path in [
            "src/utils.rs",
            "src/common/x.rs",
            "services/a/src/helpers/mod.rs",
        ] {
            let found = messages(path, "//! X.\n");
            assert_eq!(found.len(), 1, "{path}");
            assert!(found[0].contains("is a drawer"), "{found:?}");
        }
    }
}
