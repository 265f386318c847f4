//! What cargo compiled when, from what a stable cargo writes: its progress bar names the units that run, a JSON
//! message comes when one ends. (`cargo build --timings` writes a page for people alone.) Pure.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// One run of the compiler or of a build script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Cargo's package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// What of it, where it is not the library.
    pub kind: Option<UnitKind>,
    /// On the clock of whoever fed the log.
    pub start: Duration,
    /// On the same.
    pub end: Duration,
}

/// What of a package a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// `build.rs` was compiled.
    Script,
    /// `build.rs` ran.
    ScriptRun,
    /// A binary of this name.
    Binary(String),
}

/// Collects what cargo says, line by line; times are those at which a line came.
#[derive(Debug, Default)]
pub struct CargoLog {
    /// When a unit was first seen to run, by cargo's label for it.
    running: BTreeMap<String, VecDeque<Duration>>,
    /// When a package was announced, until its first unit ends.
    announced: BTreeMap<(String, String), Duration>,
    /// When the last unit of a package ended.
    ended: BTreeMap<(String, String), Duration>,
    units: Vec<Unit>,
}

/// A line of `--message-format=json`, as far as it counts.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    reason: &'a str,
    package_id: Option<String>,
    target: Option<Target>,
    #[serde(default)]
    fresh: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl CargoLog {
    /// A line of standard error, without escape sequences: `Compiling serde v1.0.2`, or a state of the progress bar.
    pub fn status(&mut self, at: Duration, line: &str) {
        let line = line.trim();
        if let Some(announced) = line.strip_prefix("Compiling ") {
            let mut words = announced.split(' ');
            if let (Some(name), Some(version)) = (words.next(), words.next()) {
                let version = version.trim_start_matches('v');
                let key = (name.to_owned(), version.to_owned());
                self.announced.entry(key).or_insert(at);
            }
        } else if let Some((_, active)) = line
            .strip_prefix("Building [")
            .and_then(|rest| rest.split_once("] "))
            .and_then(|(_, rest)| rest.split_once(": "))
        {
            self.see(at, active);
        }
    }

    /// A line of standard output; what is not JSON is passed over.
    pub fn message(&mut self, at: Duration, line: &str) {
        let Ok(message) = serde_json::from_str::<Message<'_>>(line) else {
            return;
        };
        let Some((package, version)) = message.package_id.as_deref().and_then(identity) else {
            return;
        };
        match (message.reason, message.target) {
            ("compiler-artifact", Some(target)) if !message.fresh => {
                self.end(at, package, version, target.kind());
            }
            ("build-script-executed", _) => {
                self.end(at, package, version, Some(UnitKind::ScriptRun));
            }
            _ => {}
        }
    }

    /// Units that ended, in the order of their starts.
    #[must_use]
    pub fn into_units(mut self) -> Vec<Unit> {
        self.units.sort_by_key(|unit| (unit.start, unit.end));
        self.units
    }

    /// Labels that run more often than they did before have just begun.
    fn see(&mut self, at: Duration, active: &str) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        // A list that is too long for the line ends in `...`.
        for label in active
            .split(", ")
            .map(str::trim)
            .filter(|label| *label != "...")
        {
            *counts.entry(label).or_default() += 1;
        }
        for (label, count) in counts {
            let starts = self.running.entry(label.to_owned()).or_default();
            while starts.len() < count {
                starts.push_back(at);
            }
        }
    }

    fn end(&mut self, at: Duration, package: &str, version: &str, kind: Option<UnitKind>) {
        let key = (package.to_owned(), version.to_owned());
        let seen = self
            .running
            .get_mut(&label(package, kind.as_ref()))
            .and_then(VecDeque::pop_front);
        let announced = self.announced.remove(&key);
        // Without any of them nothing ran: the result of a build script that was kept is told, too.
        let Some(start) = seen.or(announced).or(self.ended.get(&key).copied()) else {
            return;
        };
        self.ended.insert(key, at);
        self.units.push(Unit {
            package: package.to_owned(),
            version: version.to_owned(),
            kind,
            start: start.min(at),
            end: at,
        });
    }
}

impl Target {
    fn kind(self) -> Option<UnitKind> {
        match self.kind.first().map(String::as_str) {
            Some("custom-build") => Some(UnitKind::Script),
            Some("bin") => Some(UnitKind::Binary(self.name)),
            _ => None,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.version)?;
        match &self.kind {
            None => Ok(()),
            Some(UnitKind::Script) => f.write_str(" build.rs"),
            Some(UnitKind::ScriptRun) => f.write_str(" build.rs (run)"),
            Some(UnitKind::Binary(name)) if *name == self.package => f.write_str(" (bin)"),
            Some(UnitKind::Binary(name)) => write!(f, " (bin {name})"),
        }
    }
}

/// What cargo's progress bar calls it.
fn label(package: &str, kind: Option<&UnitKind>) -> String {
    match kind {
        None => package.to_owned(),
        Some(UnitKind::Script) => format!("{package}(build.rs)"),
        Some(UnitKind::ScriptRun) => format!("{package}(build)"),
        Some(UnitKind::Binary(name)) => format!("{name}(bin)"),
    }
}

/// Name and version in a package id: `path+file:///r/services/a#0.1.0` or `registry+https://…#serde@1.0.2`.
fn identity(id: &str) -> Option<(&str, &str)> {
    let (url, fragment) = id.rsplit_once('#')?;
    match fragment.rsplit_once('@') {
        Some((name, version)) => Some((name, version)),
        None => {
            let path = url.split('?').next().unwrap_or(url);
            Some((path.rsplit('/').next()?, fragment))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn artifact(id: &str, kind: &str, name: &str, fresh: bool) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"{id}","target":{{"kind":["{kind}"],"name":"{name}"}},"fresh":{fresh},"x":1}}"#
        )
    }

    fn script(id: &str) -> String {
        format!(r#"{{"reason":"build-script-executed","package_id":"{id}","linked_libs":[]}}"#)
    }

    fn units(lines: &[(u64, &str)]) -> Vec<String> {
        let mut log = CargoLog::default();
        for (at, line) in lines {
            let at = Duration::from_millis(*at);
            match line.starts_with('{') {
                true => log.message(at, line),
                false => log.status(at, line),
            }
        }
        log.into_units()
            .iter()
            .map(|unit| format!("{}–{} {unit}", unit.start.as_millis(), unit.end.as_millis()))
            .collect()
    }

    const KIT: &str = "path+file:///r/kit#0.2.0";
    const MACRO: &str = "path+file:///r/mac#my_mac@0.3.0";
    const APP: &str = "path+file:///r/app#0.1.0";

    /// As cargo 1.95 wrote it for a library with a build script, a macro and a package with library and binary.
    #[test]
    fn units_begin_when_the_progress_bar_names_them() {
        let found = units(&[
            (93, "   Compiling kit v0.2.0 (/r/kit)"),
            (
                93,
                "    Building [                ] 0/6: kit(build.rs)     ",
            ),
            (94, "   Compiling my_mac v0.3.0 (/r/mac)"),
            (
                94,
                "    Building [                ] 0/6: kit(build.rs), my_mac   ",
            ),
            (211, &artifact(MACRO, "proc-macro", "my_mac", false)),
            (
                211,
                "    Building [===>            ] 1/6: kit(build.rs)    ",
            ),
            (
                213,
                &artifact(KIT, "custom-build", "build-script-build", false),
            ),
            (213, "    Building [========>       ] 2/6: kit(build)    "),
            (615, &script(KIT)),
            (615, "    Building [=============>  ] 3/6: kit    "),
            (634, "   Compiling app v0.1.0 (/r/app)"),
            (634, "    Building [=============>  ] 3/6: kit, app   "),
            (641, &artifact(KIT, "lib", "kit", false)),
            (660, &artifact(APP, "lib", "app", false)),
            (661, "    Building [================> ] 5/6: app(bin)   "),
            (742, &artifact(APP, "bin", "app", false)),
            (742, r#"{"reason":"build-finished","success":true}"#),
        ]);
        assert_eq!(
            found,
            [
                "93–213 kit 0.2.0 build.rs",
                "94–211 my_mac 0.3.0",
                "213–615 kit 0.2.0 build.rs (run)",
                "615–641 kit 0.2.0",
                "634–660 app 0.1.0",
                "661–742 app 0.1.0 (bin)",
            ]
        );
    }

    #[test]
    fn without_a_progress_bar_units_of_a_package_follow_each_other() {
        let serde = "registry+https://github.com/rust-lang/crates.io-index#serde@1.0.2";
        let found = units(&[
            (10, "   Compiling serde v1.0.2"),
            (
                30,
                &artifact(serde, "custom-build", "build-script-build", false),
            ),
            (40, &script(serde)),
            (90, &artifact(serde, "lib", "serde", false)),
        ]);
        assert_eq!(
            found,
            [
                "10–30 serde 1.0.2 build.rs",
                "30–40 serde 1.0.2 build.rs (run)",
                "40–90 serde 1.0.2",
            ]
        );
    }

    #[test]
    fn what_was_there_already_took_no_time() {
        let found = units(&[
            (
                10,
                &artifact(KIT, "custom-build", "build-script-build", true),
            ),
            (10, &script(KIT)),
            (11, &artifact(KIT, "lib", "kit", true)),
            (12, "warning: something: else"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn two_units_of_one_name_are_two() {
        let found = units(&[
            (0, "Building [ ] 0/2: a"),
            (5, "Building [ ] 0/2: a, a, ..."),
            (10, &artifact("path+file:///r/a#0.1.0", "lib", "a", false)),
            (20, &artifact("path+file:///r/a#0.1.0", "lib", "a", false)),
        ]);
        assert_eq!(found, ["0–10 a 0.1.0", "5–20 a 0.1.0"]);
    }

    proptest! {
        #[test]
        fn whatever_is_written_no_unit_ends_before_it_begins(
            lines in prop::collection::vec(("(Compiling |Building \\[\\] 1: )?[a-c, v0.()]{0,9}", any::<bool>(), "[a-c]"), 0..20)
        ) {
            let mut log = CargoLog::default();
            for (at, (line, ends, name)) in lines.iter().enumerate() {
                let at = Duration::from_millis(at as u64);
                log.status(at, line);
                if *ends {
                    log.message(at, &artifact(&format!("x#{name}@0"), "lib", name, false));
                }
            }
            for unit in log.into_units() {
                prop_assert!(unit.start <= unit.end);
            }
        }
    }
}
