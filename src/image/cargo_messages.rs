//! What cargo writes: messages, statuses, progress and diagnostics. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use super::progress::{Tail, Task};

/// Statuses of cargo that a progress bar says better.
const STATUSES: [&str; 6] = [
    "Compiling",
    "Fresh",
    "Downloaded",
    "Downloading",
    "Dirty",
    "Finished",
];

/// What cargo said in one run.
#[derive(Default)]
pub(super) struct Heard {
    /// Package, binary and file.
    pub executables: Vec<(String, String, PathBuf)>,
    /// Packages of the repository and names of their crates.
    pub crates: BTreeSet<(String, String)>,
    /// The last lines of diagnostics.
    pub tail: Tail,
    /// Packages that could not be compiled.
    pub broken: BTreeSet<String>,
    /// Whether `Cargo.lock` is out of date.
    pub lock_is_stale: bool,
    /// Whether the toolchain lacks the target.
    pub missing_target: bool,
    /// Names of variables in the diagnostics.
    pub named: BTreeSet<String>,
}

impl Heard {
    /// A JSON message on standard output.
    pub(super) fn message(&mut self, line: &str) {
        #[derive(Deserialize)]
        struct Artifact {
            package_id: String,
            target: Named,
            executable: Option<PathBuf>,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let Ok(artifact) = serde_json::from_str::<Artifact>(line) else {
            return;
        };
        let package = package_name(&artifact.package_id).to_owned();
        if artifact.package_id.starts_with("path+") {
            let name = artifact.target.name.replace('-', "_");
            self.crates.insert((package.clone(), name));
        }
        if let Some(executable) = artifact.executable {
            self.executables
                .push((package, artifact.target.name, executable));
        }
    }

    /// A line on standard error: a status, a state of the progress bar or part of a diagnostic.
    pub(super) fn status(&mut self, line: &str, tasks: &[&Task<'_>]) {
        let plain = without_escapes(line);
        let trimmed = plain.trim();
        if let Some(progress) = progress(trimmed) {
            for task in tasks {
                task.progress(progress.clone());
            }
            return;
        }
        if trimmed.starts_with("Blocking") {
            for task in tasks {
                task.progress(trimmed);
            }
        }
        let is_status = plain.starts_with(' ')
            && STATUSES
                .iter()
                .any(|status| trimmed.starts_with(&format!("{status} ")));
        if is_status {
            return;
        }
        if let Some((_, rest)) = plain.split_once("error: could not compile `")
            && let Some((package, _)) = rest.split_once('`')
        {
            self.broken.insert(package.to_owned());
        }
        self.lock_is_stale |= plain.contains("--locked was passed");
        self.missing_target |= plain.contains("target may not be installed");
        self.named.extend(variables(&plain).map(str::to_owned));
        self.tail.push(line);
        if let Some(task) = tasks.first() {
            task.output_of("cargo", line);
        }
    }
}

/// `Building [===>   ] 12/130: tokio, hyper` → `12/130 tokio, hyper`
fn progress(line: &str) -> Option<String> {
    let (_, rest) = line.strip_prefix("Building [")?.split_once("] ")?;
    Some(match rest.split_once(": ") {
        Some((count, units)) => format!("{count} {units}"),
        None => rest.to_owned(),
    })
}

/// Without colour codes (ECMA-48, control sequences).
pub(super) fn without_escapes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(char) = rest.next() {
        if char != '\u{1b}' {
            plain.push(char);
        } else if rest.next() == Some('[') {
            for parameter in rest.by_ref() {
                if ('@'..='~').contains(&parameter) {
                    break;
                }
            }
        }
    }
    plain
}

/// The name in a package id: `path+file:///r/services/a#0.1.0` or `path+file:///r/services/x#a@0.1.0`.
fn package_name(id: &str) -> &str {
    let (url, fragment) = id.split_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => url.rsplit('/').next().unwrap_or(url),
    }
}

/// Words that may be names of variables: `APP_VERSION`.
fn variables(line: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.split(move |c: char| !is_of_name(c)).filter(|word| {
        word.len() > 2
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && !word.contains(|c: char| c.is_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_writes_is_understood() {
        assert_eq!(
            progress("Building [=====>      ] 12/130: tokio, hyper(build)").unwrap(),
            "12/130 tokio, hyper(build)"
        );
        assert_eq!(progress("Compiling tokio v1.54.1"), None);
        assert_eq!(
            without_escapes("\u{1b}[1m\u{1b}[92m   Compiling\u{1b}[0m a v0.1.0"),
            "   Compiling a v0.1.0"
        );
        for (id, name) in [
            ("path+file:///r/services/birthday#0.1.0", "birthday"),
            ("path+file:///r/services/x#birthday@0.1.0", "birthday"),
            (
                "registry+https://github.com/rust-lang/crates.io-index#serde@1.0.2",
                "serde",
            ),
        ] {
            assert_eq!(package_name(id), name);
        }
    }

    #[test]
    fn diagnostics_are_passed_on_and_the_broken_package_is_named() {
        let events = crate::event::Recorder::default();
        let task = Task::start(&events, crate::event::Phase::Build, "a");
        let tasks = [&task];
        let mut heard = Heard::default();
        for line in [
            "   Compiling a v0.1.0 (/r/a)",
            "    Building [====>  ] 3/9: a(bin)",
            "error[E0425]: cannot find value `x`",
            "error: could not compile `a` (bin \"a\") due to 1 previous error",
        ] {
            heard.status(line, &tasks);
        }
        assert_eq!(heard.broken, ["a".to_owned()].into());
        assert_eq!(heard.tail.into_lines().len(), 2);
        let progress = events.events().into_iter().any(|event| {
            matches!(event, crate::event::Event::TaskProgress { message, .. } if message == "3/9 a(bin)")
        });
        assert!(progress);
    }

    #[test]
    fn executables_are_told_apart_from_libraries() {
        let mut heard = Heard::default();
        heard.message(r#"{"reason":"compiler-artifact","package_id":"path+file:///r/kit#0.1.0","target":{"name":"kit"},"executable":null}"#);
        heard.message(r#"{"reason":"compiler-artifact","package_id":"path+file:///r/a#0.1.0","target":{"name":"a"},"executable":"/t/a"}"#);
        heard.message("not json");
        assert_eq!(heard.executables, [("a".into(), "a".into(), "/t/a".into())]);
    }

    #[test]
    fn crates_of_the_repository_and_variables_in_diagnostics_are_remembered() {
        let mut heard = Heard::default();
        for id in [
            "path+file:///r/my-kit#0.1.0",
            "registry+https://x#serde@1.0.2",
        ] {
            heard.message(&format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","target":{{"name":"my-kit"}},"executable":null}}"#
            ));
        }
        assert_eq!(heard.crates, [("my-kit".into(), "my_kit".into())].into());
        heard.status(
            "error: environment variable `APP_VERSION` not defined at compile time",
            &[],
        );
        assert_eq!(heard.named, ["APP_VERSION".to_owned()].into());
    }
}
