//! How our flags reach rustc beside the user's.
//!
//! Cargo takes flags from exactly one of `CARGO_ENCODED_RUSTFLAGS`, `RUSTFLAGS`, `target.*.rustflags` and
//! `build.rustflags`, in this order; whatever is set further down is dropped without a word.

use toml::{Table, Value};

use super::cargo_config::CargoConfig;
use super::environment::Environment;

/// What to start cargo with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rustflags {
    /// A value for `CARGO_ENCODED_RUSTFLAGS`.
    Variable(String),
    /// An argument for `--config`: cargo adds it to the user's `target.*.rustflags`, with those behind a `cfg`.
    Config(String),
}

/// Adds `ours` to the user's flags for `triple`.
pub(crate) fn combine(
    environment: &Environment,
    config: &CargoConfig,
    triple: &str,
    ours: &[String],
) -> Rustflags {
    if let Some(mut flags) = of_environment(environment) {
        flags.extend_from_slice(ours);
        return Rustflags::Variable(flags.join("\u{1f}"));
    }
    let mut flags = match has_own(environment, config, triple) {
        true => Vec::new(),
        false => of_all_targets(environment, config),
    };
    flags.extend_from_slice(ours);
    let flags = serde_json::to_string(&flags).expect("a list of strings");
    Rustflags::Config(format!("target.{triple}.rustflags={flags}"))
}

/// The user's flags for `triple`, wherever they are set.
pub(crate) fn of_user(
    environment: &Environment,
    config: &CargoConfig,
    triple: &str,
) -> Vec<String> {
    if let Some(flags) = of_environment(environment) {
        return flags;
    }
    if !has_own(environment, config, triple) {
        return of_all_targets(environment, config);
    }
    let tables = config.tables().rev();
    let mut flags: Vec<String> = tables
        .flat_map(|table| target_flags(table, triple))
        .collect();
    flags.extend(
        environment
            .get(&variable_of(triple))
            .map(words)
            .unwrap_or_default(),
    );
    flags
}

/// Values of a codegen option: `-C linker=clang`, `-Clinker=clang`, `--codegen=linker=clang`.
pub(crate) fn codegen<'a>(flags: &'a [String], option: &str) -> impl Iterator<Item = &'a str> {
    let mut before = "";
    flags.iter().filter_map(move |flag| {
        let is_behind = matches!(std::mem::replace(&mut before, flag), "-C" | "--codegen");
        let text = match is_behind {
            true => flag.as_str(),
            false => flag
                .strip_prefix("-C")
                .or_else(|| flag.strip_prefix("--codegen="))?,
        };
        text.strip_prefix(option)?.strip_prefix('=')
    })
}

fn has_own(environment: &Environment, config: &CargoConfig, triple: &str) -> bool {
    environment.get(&variable_of(triple)).is_some()
        || config.tables().any(|table| has_target_flags(table, triple))
}

fn of_all_targets(environment: &Environment, config: &CargoConfig) -> Vec<String> {
    let mut flags: Vec<String> = config.tables().rev().flat_map(build_flags).collect();
    flags.extend(
        environment
            .get("CARGO_BUILD_RUSTFLAGS")
            .map(words)
            .unwrap_or_default(),
    );
    flags
}

/// Flags for everything, if any are set in the environment.
fn of_environment(environment: &Environment) -> Option<Vec<String>> {
    if let Some(encoded) = environment.get("CARGO_ENCODED_RUSTFLAGS") {
        return Some(
            encoded
                .split('\u{1f}')
                .map(str::to_owned)
                .filter(|flag| !flag.is_empty())
                .collect(),
        );
    }
    let flags = environment.get("RUSTFLAGS")?;
    Some(flags.split_whitespace().map(str::to_owned).collect())
}

fn has_target_flags(config: &Table, triple: &str) -> bool {
    config
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flatten()
        .any(|(target, settings)| {
            (target == triple || target.starts_with("cfg(")) && settings.get("rustflags").is_some()
        })
}

fn build_flags(config: &Table) -> Vec<String> {
    let flags = config.get("build").and_then(|build| build.get("rustflags"));
    flags.map(list).unwrap_or_default()
}

fn target_flags(config: &Table, triple: &str) -> Vec<String> {
    let targets = config.get("target").and_then(Value::as_table);
    targets
        .into_iter()
        .flatten()
        .filter(|(target, _)| *target == triple || target.starts_with("cfg("))
        .filter_map(|(_, settings)| settings.get("rustflags"))
        .flat_map(list)
        .collect()
}

fn list(flags: &Value) -> Vec<String> {
    match flags {
        Value::String(flags) => words(flags),
        Value::Array(flags) => flags
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

fn words(flags: &str) -> Vec<String> {
    flags.split_whitespace().map(str::to_owned).collect()
}

fn variable_of(triple: &str) -> String {
    let name = triple.to_ascii_uppercase().replace('-', "_");
    format!("CARGO_TARGET_{name}_RUSTFLAGS")
}

#[cfg(test)]
mod tests {
    use super::super::test_stack::write;
    use super::*;

    const TRIPLE: &str = "x86_64-unknown-linux-gnu";

    fn combined(variables: &[(&str, &str)], nearest: &str, above: &str) -> Rustflags {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("repo/.cargo/config.toml", nearest),
            (".cargo/config.toml", above),
        ];
        write(folder.path(), &files);
        let config = CargoConfig::load(&folder.path().join("repo"), None).unwrap();
        let environment: Environment = variables.iter().copied().collect();
        combine(&environment, &config, TRIPLE, &["-Cours".to_owned()])
    }

    #[test]
    fn the_users_flags_stay() {
        let config = |flags: &str| Rustflags::Config(format!("target.{TRIPLE}.rustflags={flags}"));
        let flags = [("RUSTFLAGS", " -Ca  -Cb ")];
        assert_eq!(combined(&[], "", ""), config(r#"["-Cours"]"#));
        assert_eq!(
            combined(&flags, "build.rustflags = '-Cc'", ""),
            Rustflags::Variable("-Ca\u{1f}-Cb\u{1f}-Cours".into())
        );
        assert_eq!(
            combined(&[("RUSTFLAGS", "")], "build.rustflags = '-Cc'", ""),
            Rustflags::Variable("-Cours".into()),
            "an empty RUSTFLAGS switches the others off, too"
        );
        assert_eq!(
            combined(
                &[("CARGO_BUILD_RUSTFLAGS", "-Cmore")],
                "build.rustflags = '-Ca -Cb'",
                "build.rustflags = ['-Cabove']"
            ),
            config(r#"["-Cabove","-Ca","-Cb","-Cmore","-Cours"]"#),
            "cargo's own variable is one more place of build.rustflags"
        );
        for own in [
            format!("[target.{TRIPLE}]\nrustflags = '-Ca'"),
            "[target.'cfg(unix)']\nrustflags = '-Ca'".to_owned(),
        ] {
            assert_eq!(
                combined(&[], "build.rustflags = '-Cdropped'", &own),
                config(r#"["-Cours"]"#),
                "cargo adds those of {own} itself and would not have used build.rustflags"
            );
        }
        let of_target = [("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ca")];
        assert_eq!(
            combined(&of_target, "build.rustflags = '-Cdropped'", ""),
            config(r#"["-Cours"]"#)
        );
    }

    #[test]
    fn the_users_flags_are_found_for_a_target() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[build]\nrustflags = '-Ca'\n[target.{TRIPLE}]\nrustflags = '-Cb'\n");
        write(folder.path(), &[(".cargo/config.toml", &text)]);
        let config = CargoConfig::load(folder.path(), None).unwrap();
        let of_user = |set: &[(&str, &str)], triple: &str| {
            super::of_user(&set.iter().copied().collect(), &config, triple)
        };
        assert_eq!(of_user(&[], TRIPLE), ["-Cb"]);
        assert_eq!(of_user(&[], "other"), ["-Ca"]);
        assert_eq!(of_user(&[("RUSTFLAGS", "-Cc")], TRIPLE), ["-Cc"]);
    }

    #[test]
    fn variables_are_read_as_cargo_reads_them() {
        let flags = |set: &[(&str, &str)]| of_environment(&set.iter().copied().collect());
        assert_eq!(flags(&[]), None);
        assert_eq!(flags(&[("RUSTFLAGS", " -C  a ")]).unwrap(), ["-C", "a"]);
        let both = [
            ("RUSTFLAGS", "-Cx"),
            ("CARGO_ENCODED_RUSTFLAGS", "-C\u{1f}a b"),
        ];
        assert_eq!(flags(&both).unwrap(), ["-C", "a b"]);
    }
}
