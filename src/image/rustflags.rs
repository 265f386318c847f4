//! How our flags reach rustc beside the user's.
//!
//! Cargo takes flags from exactly one of `CARGO_ENCODED_RUSTFLAGS`, `RUSTFLAGS`, `target.*.rustflags` and
//! `build.rustflags`, in this order; whatever is set further down is dropped without a word.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::input_error::InputError;
use super::manifests;

/// What to start cargo with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rustflags {
    /// A value for `CARGO_ENCODED_RUSTFLAGS`.
    Variable(String),
    /// An argument for `--config`: cargo adds it to the user's `target.*.rustflags`, with those behind a `cfg`.
    Config(String),
}

/// Flags of the user's environment, if any are set there.
pub(crate) fn of_environment(get: impl Fn(&str) -> Option<String>) -> Option<Vec<String>> {
    if let Some(encoded) = get("CARGO_ENCODED_RUSTFLAGS") {
        return Some(
            encoded
                .split('\u{1f}')
                .map(str::to_owned)
                .filter(|flag| !flag.is_empty())
                .collect(),
        );
    }
    get("RUSTFLAGS").map(|flags| flags.split_whitespace().map(str::to_owned).collect())
}

/// Adds `ours` to the user's flags for `triple`. `configs` are cargo's configuration files, nearest first.
pub(crate) fn combine(
    of_environment: Option<Vec<String>>,
    configs: &[Table],
    triple: &str,
    ours: &[String],
) -> Rustflags {
    if let Some(mut flags) = of_environment {
        flags.extend_from_slice(ours);
        return Rustflags::Variable(flags.join("\u{1f}"));
    }
    let mut flags = if configs
        .iter()
        .any(|config| has_target_flags(config, triple))
    {
        Vec::new()
    } else {
        configs.iter().rev().flat_map(build_flags).collect()
    };
    flags.extend_from_slice(ours);
    let flags = serde_json::to_string(&flags).expect("a list of strings");
    Rustflags::Config(format!("target.{triple}.rustflags={flags}"))
}

/// Cargo's configuration files for a build in `root`, nearest first.
pub(crate) fn configs(root: &Path, cargo_home: Option<PathBuf>) -> Result<Vec<Table>, InputError> {
    let folders = root.ancestors().map(|folder| folder.join(".cargo"));
    let mut tables = Vec::new();
    let mut seen = Vec::new();
    for folder in folders.chain(cargo_home) {
        if seen.contains(&folder) {
            continue;
        }
        for name in ["config", "config.toml"] {
            if let Some(table) = manifests::read(&folder, Path::new(name))? {
                tables.push(table);
                break;
            }
        }
        seen.push(folder);
    }
    Ok(tables)
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
    match config.get("build").and_then(|build| build.get("rustflags")) {
        Some(Value::String(flags)) => flags.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(flags)) => flags
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIPLE: &str = "x86_64-unknown-linux-gnu";

    fn combined(environment: Option<&[&str]>, configs: &[&str]) -> Rustflags {
        let configs: Vec<Table> = configs.iter().map(|text| text.parse().unwrap()).collect();
        let environment =
            environment.map(|flags| flags.iter().map(|&flag| flag.to_owned()).collect());
        combine(environment, &configs, TRIPLE, &["-Cours".to_owned()])
    }

    #[test]
    fn the_users_flags_stay() {
        let config = |flags: &str| Rustflags::Config(format!("target.{TRIPLE}.rustflags={flags}"));
        assert_eq!(combined(None, &[]), config(r#"["-Cours"]"#));
        assert_eq!(
            combined(Some(&["-Ca", "-Cb"]), &["build.rustflags = '-Cc'"]),
            Rustflags::Variable("-Ca\u{1f}-Cb\u{1f}-Cours".into())
        );
        assert_eq!(
            combined(Some(&[]), &["build.rustflags = '-Cc'"]),
            Rustflags::Variable("-Cours".into()),
            "an empty RUSTFLAGS switches the others off, too"
        );
        assert_eq!(
            combined(
                None,
                &[
                    "build.rustflags = '-Ca -Cb'",
                    "build.rustflags = ['-Cuser']"
                ]
            ),
            config(r#"["-Cuser","-Ca","-Cb","-Cours"]"#)
        );
        for own in [
            format!("[target.{TRIPLE}]\nrustflags = '-Ca'"),
            "[target.'cfg(unix)']\nrustflags = '-Ca'".to_owned(),
        ] {
            assert_eq!(
                combined(None, &["build.rustflags = '-Cdropped'", &own]),
                config(r#"["-Cours"]"#),
                "cargo adds those of {own} itself and would not have used build.rustflags"
            );
        }
    }

    #[test]
    fn variables_are_read_as_cargo_reads_them() {
        let flags = |set: &[(&str, &str)]| {
            of_environment(|name| {
                set.iter()
                    .find(|(variable, _)| *variable == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(flags(&[]), None);
        assert_eq!(flags(&[("RUSTFLAGS", " -C  a ")]).unwrap(), ["-C", "a"]);
        let both = [
            ("RUSTFLAGS", "-Cx"),
            ("CARGO_ENCODED_RUSTFLAGS", "-C\u{1f}a b"),
        ];
        assert_eq!(flags(&both).unwrap(), ["-C", "a b"]);
    }
}
