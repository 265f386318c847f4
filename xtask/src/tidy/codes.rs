//! Codes of problems: each `Code::new("Sdddd")` in `src/` is there once.

use std::collections::BTreeMap;

use super::{SourceFile, Violation};

const CALL: &str = "Code::new(\"";

/// Codes given a second time, or not of the form S and four digits.
pub(super) fn check(files: &[SourceFile]) -> Vec<Violation> {
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| is_checked(&file.path)) {
        for (line, code) in codes(&file.text) {
            let place = format!("{}:{line}", file.path);
            let message = if !is_code(code) {
                format!("`{code}` is no code: S and four digits")
            } else if let Some(first) = first.get(code) {
                format!("code `{code}` is already that of {first}")
            } else {
                first.insert(code, place);
                continue;
            };
            violations.push(Violation {
                path: file.path.clone(),
                line,
                message,
            });
        }
    }
    violations
}

/// Tests make codes of their own.
fn is_checked(path: &str) -> bool {
    path.starts_with("src/") && !path.ends_with("/tests.rs") && !path.contains("/tests/")
}

fn codes(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "mod tests {")
        .filter_map(|(index, line)| {
            let (_, rest) = line.split_once(CALL)?;
            Some((index + 1, rest.split('"').next()?))
        })
}

fn is_code(code: &str) -> bool {
    code.strip_prefix('S')
        .is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_second_use_names_the_first() {
        let files = [
            file(
                "src/a.rs",
                "const A: Code = Code::new(\"S0101\");\nconst B: Code = Code::new(\"S0102\");\n",
            ),
            file("src/b.rs", "\nconst C: Code = Code::new(\"S0101\");\n"),
        ];
        let found: Vec<String> = check(&files).iter().map(Violation::to_string).collect();
        assert_eq!(
            found,
            ["src/b.rs:2: code `S0101` is already that of src/a.rs:1"]
        );
    }

    #[test]
    fn a_malformed_code_is_found() {
        let found = check(&[file("src/a.rs", "Code::new(\"S12\")")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.starts_with("`S12` is no code"));
    }

    #[test]
    fn tests_may_repeat_codes() {
        let text = "Code::new(\"S0101\")\n#[cfg(test)]\nmod tests {\n  Code::new(\"S0101\")\n}\n";
        let files = [
            file("src/a.rs", text),
            file("src/a/tests.rs", "Code::new(\"S0101\")"),
        ];
        assert_eq!(check(&files), []);
    }
}
