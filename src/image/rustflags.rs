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
    let of_target = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        triple.to_ascii_uppercase().replace('-', "_")
    );
    let has_target_flags = environment.get(&of_target).is_some()
        || config.tables().any(|table| has_target_flags(table, triple));
    let mut flags: Vec<String> = match has_target_flags {
        true => Vec::new(),
        false => config.tables().rev().flat_map(build_flags).collect(),
    };
    if !has_target_flags && let Some(more) = environment.get("CARGO_BUILD_RUSTFLAGS") {
        flags.extend(more.split_whitespace().map(str::to_owned));
    }
    flags.extend_from_slice(ours);
    let flags = serde_json::to_string(&flags).expect("a list of strings");
    Rustflags::Config(format!("target.{triple}.rustflags={flags}"))
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
