//! What the tag of a cargo service depends on beside its packages: configuration, environment, compiler, linker and
//! what it declares. Nothing is compiled.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::closure::Surroundings;
use super::environment::Environment;
use super::features::Features;
use super::input_error::ImageError;
use super::spec::{ImageSpec, specs_with};
use super::test_stack::{cargo, span, stack, workspace, write};
use crate::stack::{Build, CargoBuild, CargoInput, ServiceName, Stack};

/// A repository with its surroundings: a user's home, a toolchain and variables.
struct Machine {
    folder: tempfile::TempDir,
    stack: Stack,
    variables: BTreeMap<String, String>,
}

impl Machine {
    /// `a` declares a file, a folder and a variable.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().canonicalize().unwrap();
        let root = at.join("team/repo");
        workspace(&root);
        write(&root, &[("shared/x.sql", ""), ("shared/more/y.sql", "")]);
        let path = |path: &str| CargoInput::Path {
            path: path.into(),
            span: span(),
        };
        let a = CargoBuild {
            inputs: vec![
                path("shared/x.sql"),
                path("shared/more"),
                CargoInput::Variable("APP_VERSION".parse().unwrap()),
            ],
            ..CargoBuild::new("a", span())
        };
        let services = [("a", Build::Native(Box::new(a.into()))), ("b", cargo("b"))];
        let mut machine = Self {
            stack: stack(&root, &services),
            folder,
            variables: BTreeMap::new(),
        };
        let shown = at.display();
        machine.script(
            "bin/rustc",
            &format!(
                "case $1 in --print) echo {shown}/sysroot ;; *) cat {shown}/release {shown}/team/rust-toolchain 2>/dev/null ;; esac; true"
            ),
        );
        machine.script(
            "bin/cc",
            &format!(
                "case $1 in -print-file-name=libc.a) echo {shown}/libc.a ;; *) echo \"${{1#*=}}\" ;; esac"
            ),
        );
        write(
            &at,
            &[
                ("sysroot/bin/rustc", "1"),
                ("release", "1"),
                ("libc.a", "1"),
            ],
        );
        let own = [
            ("PATH", at.join("bin")),
            ("RUSTC", at.join("bin/rustc")),
            ("HOME", at.join("home")),
        ];
        for (name, value) in own {
            machine.set(name, value.to_str().unwrap());
        }
        machine
    }

    fn at(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn script(&self, file: &str, commands: &str) {
        write(
            self.folder.path(),
            &[(file, &format!("#!/bin/sh\n{commands}\n"))],
        );
        fs::set_permissions(self.at(file), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn write(&self, file: &str, text: &str) {
        write(self.folder.path(), &[(file, text)]);
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    fn specs(&self) -> Result<BTreeMap<ServiceName, ImageSpec>, ImageError> {
        let variables = self.variables.iter();
        let surroundings = Surroundings {
            environment: &variables
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect::<Environment>(),
            resolve: &|_, _, _, _| Ok(Features::default()),
        };
        specs_with(&self.stack, None, surroundings)
    }

    /// What `edit` changes: the services, and the inputs of the first of them.
    fn changed(&mut self, edit: impl FnOnce(&mut Self)) -> (String, String) {
        let before = self.specs().unwrap();
        edit(self);
        let after = self.specs().unwrap();
        let changed = after
            .iter()
            .filter(|(name, spec)| before[*name].reference != spec.reference);
        let names: Vec<&str> = changed.map(|(name, _)| name.as_str()).collect();
        let inputs = match names.first() {
            Some(name) => before[*name]
                .inputs
                .changed(&after[*name].inputs)
                .join(", "),
            None => String::new(),
        };
        (names.join(" "), inputs)
    }
}

type Edit = fn(&mut Machine);

fn check(table: &[(&str, Edit, &str, &str)]) {
    for (what, edit, services, inputs) in table {
        let found = Machine::new().changed(edit);
        assert_eq!(
            (found.0.as_str(), found.1.as_str()),
            (*services, *inputs),
            "{what}"
        );
    }
}

const RUSTFLAGS: &str = "build.rustflags = ['-Copt-level=1']\n";

#[test]
fn configuration_of_cargo_wherever_it_lies_is_an_input() {
    check(&[
        (
            "the user's",
            |machine| machine.write("home/.cargo/config.toml", RUSTFLAGS),
            "a b",
            "config $CARGO_HOME/config.toml",
        ),
        (
            "that of a folder above",
            |machine| machine.write("team/.cargo/config.toml", RUSTFLAGS),
            "a b",
            "config ../.cargo/config.toml",
        ),
        (
            "what the user's includes",
            |machine| {
                machine.write("home/.cargo/config.toml", "include = ['more.toml']\n");
                machine.write("home/.cargo/more.toml", "env.A = '1'\n");
            },
            "a b",
            "config more.toml (included by $CARGO_HOME/config.toml)",
        ),
        (
            "tokens, proxies and caches",
            |machine| {
                machine.write(
                    "home/.cargo/config.toml",
                    "[http]\nproxy = 'x'\n[registries.own]\ntoken = 'x'\n[build]\nrustc-wrapper = 'sccache'\n",
                );
            },
            "",
            "",
        ),
    ]);
}

#[test]
fn the_content_of_a_package_that_overrides_another_is_an_input() {
    let mut machine = Machine::new();
    machine.write("team/repo/.cargo/config.toml", "paths = ['../forks']\n");
    machine.write("team/forks/serde/Cargo.toml", "[package]\nname = 'serde'\n");
    machine.write("team/forks/serde/src/lib.rs", "");
    let edit: Edit = |machine| machine.write("team/forks/serde/src/lib.rs", "fn x() {}");
    assert_eq!(
        machine.changed(edit),
        ("a".to_owned(), "file ../forks/serde/src/lib.rs".to_owned())
    );
}

#[test]
fn variables_that_change_a_binary_are_inputs() {
    check(&[
        (
            "flags",
            |machine| machine.set("RUSTFLAGS", "-Copt-level=1"),
            "a b",
            "env RUSTFLAGS",
        ),
        (
            "flags for the C compiler",
            |machine| machine.set("CFLAGS_x86_64-unknown-linux-gnu", "-O1"),
            "a b",
            "env CFLAGS_x86_64-unknown-linux-gnu",
        ),
        (
            "a declared one, which all of the run see",
            |machine| machine.set("APP_VERSION", "1"),
            "a b",
            "env APP_VERSION",
        ),
        (
            "one that nobody declares",
            |machine| machine.set("OTHER", "1"),
            "",
            "",
        ),
        (
            "the time zone",
            |machine| machine.set("TZ", "Asia/Tokyo"),
            "",
            "",
        ),
        (
            "what the profile does anyway",
            |machine| machine.set("CARGO_INCREMENTAL", "0"),
            "",
            "",
        ),
        (
            "what it does not",
            |machine| machine.set("CARGO_INCREMENTAL", "1"),
            "a b",
            "env CARGO_INCREMENTAL",
        ),
    ]);
}

#[test]
fn declared_files_are_inputs_of_who_declares_them() {
    check(&[
        (
            "a file",
            |machine| machine.write("team/repo/shared/x.sql", "1"),
            "a",
            "file shared/x.sql",
        ),
        (
            "a new one in a folder",
            |machine| machine.write("team/repo/shared/more/z.sql", ""),
            "a",
            "file shared/more/z.sql",
        ),
        (
            "another one",
            |machine| machine.write("team/repo/shared/other.sql", ""),
            "",
            "",
        ),
    ]);
    let machine = Machine::new();
    fs::remove_file(machine.at("team/repo/shared/x.sql")).unwrap();
    let error = machine.specs().unwrap_err();
    assert_eq!(error.to_string(), "the input `shared/x.sql` does not exist");
}

#[test]
fn compiler_linker_and_c_library_are_inputs() {
    check(&[
        (
            "a toolchain file above the repository",
            |machine| machine.write("team/rust-toolchain", "another"),
            "a b",
            "cargo compiler",
        ),
        (
            "another release behind the same name",
            |machine| {
                machine.write("release", "another");
                machine.write("sysroot/bin/rustc", "another");
            },
            "a b",
            "cargo compiler",
        ),
        (
            "the C library",
            |machine| machine.write("libc.a", "another"),
            "a b",
            LIBC,
        ),
        (
            "another linker",
            |machine| {
                machine.script("bin/other", "true");
                let linker = format!("[target.{TRIPLE}]\nlinker = 'other'\n");
                machine.write("team/repo/.cargo/config.toml", &linker);
            },
            "a b",
            OTHER_LINKER,
        ),
    ]);
}

#[cfg(target_arch = "x86_64")]
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "x86_64")]
const LIBC: &str = "linker libc.a for x86_64-unknown-linux-gnu";
#[cfg(target_arch = "x86_64")]
const OTHER_LINKER: &str = "config .cargo/config.toml, linker libc.a for x86_64-unknown-linux-gnu, linker the linker for x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TRIPLE: &str = "aarch64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const LIBC: &str = "linker libc.a for aarch64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const OTHER_LINKER: &str = "config .cargo/config.toml, linker libc.a for aarch64-unknown-linux-gnu, linker the linker for aarch64-unknown-linux-gnu";

#[test]
fn two_machines_with_harmless_differences_agree() {
    let references = |machine: &Machine| -> Vec<String> {
        let specs = machine.specs().unwrap().into_values();
        specs.map(|spec| spec.reference).collect()
    };
    let (one, mut other) = (Machine::new(), Machine::new());
    // The linker is a file of the machine, and these two differ in the folder that they name.
    for machine in [&one, &other] {
        machine.script("bin/cc", "exit 1");
    }
    other.set("LANG", "de_DE.UTF-8");
    other.set("TZ", "Asia/Tokyo");
    other.write(
        "home/.cargo/config.toml",
        "[net]\ngit-fetch-with-cli = true\n",
    );
    assert_eq!(references(&one), references(&other));
}

#[test]
fn a_patch_in_the_configuration_is_no_reason_to_call_the_lock_file_old() {
    let mut machine = Machine::new();
    machine.write(
        "team/repo/.cargo/config.toml",
        "[patch.crates-io]\nserde = { path = 'forks/serde' }\n",
    );
    machine.write(
        "team/repo/forks/serde/Cargo.toml",
        "[package]\nname = 'serde'\n",
    );
    machine.write("team/repo/forks/serde/src/lib.rs", "");
    let lock = fs::read_to_string(machine.at("team/repo/Cargo.lock")).unwrap();
    let source =
        "source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"s1\"\n";
    assert!(lock.contains(source));
    machine.write("team/repo/Cargo.lock", &lock.replace(source, ""));
    let edit: Edit = |machine| machine.write("team/repo/forks/serde/src/lib.rs", "fn x() {}");
    assert_eq!(
        machine.changed(edit),
        ("a".to_owned(), "file forks/serde/src/lib.rs".to_owned())
    );
}

#[test]
fn no_value_of_a_variable_is_kept() {
    let mut machine = Machine::new();
    for name in ["APP_VERSION", "CFLAGS", "RUSTFLAGS"] {
        machine.set(name, "hunter2");
    }
    machine.write("home/.cargo/config.toml", "env.TOKEN = 'hunter2'\n");
    for spec in machine.specs().unwrap().values() {
        let kept = spec
            .inputs
            .iter()
            .find(|(_, fingerprint)| fingerprint.contains("hunter2"));
        assert_eq!(kept, None);
    }
    let cache = machine.at("team/repo/.stackctl/cache");
    for entry in fs::read_dir(cache).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("hunter2"));
    }
}

/// Beside the table of `spec.rs`: what stands for a path there stands for one here.
#[test]
fn the_folder_of_the_repository_is_no_input() {
    let machine = Machine::new();
    for spec in machine.specs().unwrap().values() {
        let folder = machine.folder.path().file_name().unwrap();
        let folder = Path::new(folder).to_str().unwrap();
        let names = spec
            .inputs
            .iter()
            .find(|(name, value)| name.contains(folder) || value.contains(folder));
        assert_eq!(names, None);
    }
}
