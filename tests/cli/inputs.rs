//! What an image is made from, as a user sees it: variables, the toolchain, this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::workspace::{Run, Workspace};

const TRIPLE: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// A workspace of the service `hello`, whose program is `main`.
fn stack(main: &str) -> Workspace {
    let workspace = Workspace::empty();
    for (path, text) in [
        ("stack.yaml", "name: shop\nservices: [hello]\n"),
        ("environments/local.yaml", "cluster: local\n"),
        ("services/hello/service.yaml", "build: { cargo: hello }\n"),
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"hello\"]\n[profile.release]\ndebug = 1\n",
        ),
        (
            "Cargo.lock",
            "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n",
        ),
        (
            "hello/Cargo.toml",
            "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        ("hello/src/main.rs", main),
    ] {
        workspace.write(path, text);
    }
    workspace
}

fn home_of(name: &str, folder: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        let home = std::env::home_dir().expect("a home folder");
        home.join(folder).display().to_string()
    })
}

fn run(workspace: &Workspace, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let cache = workspace.path().join("cache").display().to_string();
    let (cargo, rustup) = (
        home_of("CARGO_HOME", ".cargo"),
        home_of("RUSTUP_HOME", ".rustup"),
    );
    let mut all = vec![
        ("CARGO_HOME", cargo.as_str()),
        ("RUSTUP_HOME", &rustup),
        ("STACKCTL_CACHE", &cache),
    ];
    all.extend(variables);
    workspace.run_with(arguments, &all)
}

fn build(workspace: &Workspace, variables: &[(&str, &str)]) -> Run {
    let run = run(
        workspace,
        &["build", "--to", "oci:out", "--explain"],
        variables,
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    run
}

fn program(workspace: &Workspace) -> PathBuf {
    let folder = workspace.path().join("target/stackctl");
    folder.join(TRIPLE).join("release/hello")
}

fn printed(workspace: &Workspace) -> String {
    let output = Command::new(program(workspace)).output().expect("it runs");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// Prints a variable that rustc puts in, and one that a build script reads without telling cargo.
fn with_variables() -> Workspace {
    let workspace = stack(
        "fn main() { println!(\"{:?} {}\", option_env!(\"APP_VERSION\"), env!(\"FROM_SCRIPT\")); }\n",
    );
    workspace.write(
        "hello/build.rs",
        "fn main() {\n    let word = std::env::var(\"WORD\").unwrap_or_default();\n    \
         println!(\"cargo::rustc-env=FROM_SCRIPT={word}\");\n    \
         println!(\"cargo::rerun-if-changed=build.rs\");\n}\n",
    );
    workspace
}

#[test]
fn a_variable_reaches_the_compiler_only_where_a_service_declares_it() {
    let workspace = with_variables();
    let first = build(&workspace, &[("APP_VERSION", "1.2.3"), ("WORD", "x")]);
    assert_eq!(printed(&workspace), "None");
    let warning = "warning[S0447]: the code of hello asks for `APP_VERSION`";
    assert!(first.stderr.contains(warning), "{}", first.stderr);
    let remedy = "write `inputs: [$APP_VERSION]` below `build` in services/hello/service.yaml";
    assert!(first.stderr.contains(remedy), "{}", first.stderr);
    let other = build(&workspace, &[("APP_VERSION", "2.0.0")]);
    assert!(other.stdout.contains("cached"), "{}", other.stdout);

    let declared = "build: { cargo: hello, inputs: [$APP_VERSION, $WORD] }\n";
    workspace.write("services/hello/service.yaml", declared);
    for (version, word, expected) in [
        ("1.2.3", "x", "Some(\"1.2.3\") x"),
        ("2.0.0", "x", "Some(\"2.0.0\") x"),
        ("2.0.0", "y", "Some(\"2.0.0\") y"),
    ] {
        let run = build(&workspace, &[("APP_VERSION", version), ("WORD", word)]);
        assert_eq!(printed(&workspace), expected, "{}", run.stderr);
        assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    }
    let unset = build(&workspace, &[("APP_VERSION", "2.0.0")]);
    assert_eq!(printed(&workspace), "Some(\"2.0.0\")");
    assert!(
        unset.stdout.contains("env WORD changed"),
        "{}",
        unset.stdout
    );
    assert!(!unset.stdout.contains("APP_VERSION"), "{}", unset.stdout);
}

#[test]
fn a_compilation_that_lacks_a_variable_says_how_to_declare_it() {
    let workspace = stack("fn main() { println!(\"{}\", env!(\"APP_NAME\")); }\n");
    let arguments = ["build", "--to", "oci:out"];
    let failed = run(&workspace, &arguments, &[("APP_NAME", "hunter2")]);
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    let hint = "`APP_NAME` is set here, but cargo sees only variables that a service declares: write `inputs: \
                [$APP_NAME]`";
    let stderr = failed
        .stderr
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(stderr.contains(hint), "{}", failed.stderr);
    assert!(!failed.stderr.contains("hunter2"), "{}", failed.stderr);
    let unset = run(&workspace, &arguments, &[]);
    assert!(!unset.stderr.contains("inputs:"), "{}", unset.stderr);
}

/// Programs that stand for cargo, rustc and cc: they do what those do until there is a file `armed`.
fn stand_ins(workspace: &Workspace) -> String {
    let at = workspace.path().display();
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .expect("rustc");
    let sysroot = String::from_utf8(sysroot.stdout).expect("text");
    let toolchain = Path::new(sysroot.trim()).join("bin");
    let cc = PathBuf::from("/usr/bin/cc");
    for (name, real) in [
        ("cargo", toolchain.join("cargo")),
        ("rustc", toolchain.join("rustc")),
        ("cc", cc),
    ] {
        let real = real.display();
        let script = format!(
            "#!/bin/sh\n\
             [ -e {at}/armed ] && {{ echo {name} \"$@\" >> {at}/started; exit 1; }}\n\
             [ {name} = cc ] && [ \"$1\" = -print-file-name=libc.a ] && {{ echo {at}/libc.a; exit; }}\n\
             if [ {name} = rustc ] && [ \"$1\" = -vV ] && [ -e {at}/rust-toolchain.toml ]; then\n\
             {real} -vV | sed 's/^rustc /rustc other /'; exit\nfi\nexec {real} \"$@\"\n"
        );
        workspace.write(&format!("bin/{name}"), script);
        let path = workspace.path().join("bin").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    format!("{at}/bin:/usr/bin:/bin")
}

#[test]
fn nothing_is_started_when_nothing_changed_and_another_toolchain_is_noticed() {
    let workspace = stack("fn main() {}\n");
    let path = stand_ins(&workspace);
    let variables = [("PATH", path.as_str())];
    build(&workspace, &variables);
    workspace.write("armed", "");
    let again = build(&workspace, &variables);
    assert!(again.stdout.contains("cached"), "{}", again.stdout);
    let started = fs::read_to_string(workspace.path().join("started"));
    assert!(started.is_err(), "{started:?}");

    fs::remove_file(workspace.path().join("armed")).expect("it was made");
    workspace.write("rust-toolchain.toml", "[toolchain]\nchannel = \"other\"\n");
    let swapped = build(&workspace, &variables);
    assert!(
        swapped.stdout.contains("cargo compiler changed"),
        "{}",
        swapped.stdout
    );
    assert!(!swapped.stdout.contains("file "), "{}", swapped.stdout);
}

#[test]
fn another_c_library_is_linked_anew_although_cargo_does_not_see_it() {
    let workspace = stack("fn main() {}\n");
    let path = stand_ins(&workspace);
    let variables = [("PATH", path.as_str())];
    workspace.write("libc.a", "one");
    build(&workspace, &variables);
    let linked = || {
        fs::metadata(program(&workspace))
            .expect("the program")
            .modified()
    };
    let before = linked().expect("a time");
    assert!(build(&workspace, &variables).stdout.contains("cached"));
    workspace.write("libc.a", "another");
    let run = build(&workspace, &variables);
    let changed = format!("linker libc.a for {TRIPLE} changed");
    assert!(run.stdout.contains(&changed), "{}", run.stdout);
    assert_ne!(linked().expect("a time"), before);
}

fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("git");
    assert!(output.status.success(), "{output:?}");
}

/// A crate in a repository of its own, which keeps its place in what is compiled.
fn library() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        (
            "Cargo.toml",
            "[package]\nname = \"placed\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        (
            "src/lib.rs",
            "pub fn place(count: usize) -> &'static str { assert!(count < 9, \"too many\"); file!() }\n",
        ),
    ];
    fs::create_dir(folder.path().join("src")).expect("it is ours");
    for (file, text) in files {
        fs::write(folder.path().join(file), text).expect("it is ours");
    }
    git(folder.path(), &["init", "-q"]);
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-q", "-m", "one"]);
    folder
}

/// Builds on a machine of its own and returns the digest of the image.
fn build_on(
    workspace: &Workspace,
    machine: &tempfile::TempDir,
    umask: &str,
    other: [&str; 2],
) -> String {
    let [zone, language] = other;
    let at = machine.path().display();
    let script = format!(
        "umask {umask}; exec {} build --to oci:out --output json",
        env!("CARGO_BIN_EXE_stackctl")
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(workspace.path())
        .env_clear()
        .envs([
            ("PATH", std::env::var("PATH").expect("a PATH").as_str()),
            ("RUSTUP_HOME", &home_of("RUSTUP_HOME", ".rustup")),
            ("HOME", &format!("{at}/home")),
            ("CARGO_HOME", &format!("{at}/cargo")),
            ("STACKCTL_CACHE", &format!("{at}/cache")),
            ("DOCKER_HOST", "unix:///nowhere.sock"),
            ("TZ", zone),
            ("LANG", language),
        ])
        .output()
        .expect("a shell");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let digest = report["images"]["hello"]["manifest"]["digest"].as_str();
    digest.expect("a digest").to_owned()
}

#[test]
fn two_machines_make_the_same_image_without_their_folders_in_it() {
    let library = library();
    let main = "fn main() {\n    let count = std::env::args().count();\n    \
                println!(\"{} {}\", placed::place(count), file!());\n}\n";
    let url = format!("file://{}", library.path().display());
    let manifest = format!(
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nplaced = {{ git = \"{url}\" }}\n"
    );
    let (one, other) = (stack(main), stack(main));
    for workspace in [&one, &other] {
        workspace.write("hello/Cargo.toml", &manifest);
    }
    let (machine, another) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let locked = Command::new("cargo")
        .args(["generate-lockfile"])
        .current_dir(one.path())
        .env("CARGO_HOME", machine.path().join("cargo"))
        .output()
        .expect("cargo");
    assert!(locked.status.success(), "{locked:?}");
    let lock = fs::read(one.path().join("Cargo.lock")).expect("it was made");
    other.write("Cargo.lock", lock);

    let first = build_on(&one, &machine, "022", ["Asia/Tokyo", "C"]);
    let second = build_on(&other, &another, "077", ["America/Lima", "de_DE.UTF-8"]);
    assert_eq!(first, second);
    let folders = [one.path(), other.path(), machine.path(), another.path()];
    for workspace in [&one, &other] {
        let binary = fs::read(program(workspace)).expect("the program");
        let holds = |text: &str| {
            binary
                .windows(text.len())
                .any(|bytes| bytes == text.as_bytes())
        };
        for place in ["/source", "/cargo/git/checkouts/"] {
            assert!(holds(place), "it keeps places: {place}");
        }
        for folder in folders {
            let name = folder.file_name().and_then(|name| name.to_str());
            assert!(!holds(name.expect("text")), "{}", folder.display());
        }
    }
}

#[test]
fn inputs_that_cannot_be_are_named() {
    let workspace = stack("fn main() {}\n");
    for (inputs, message) in [
        (
            "../x",
            "a path here is relative to the repository and does not leave it",
        ),
        (
            "$1X",
            "`1X` is not a valid variable name: it must start with a letter or _",
        ),
        ("shared", "the input `shared` does not exist"),
    ] {
        let text = format!("build: {{ cargo: hello, inputs: [{inputs}] }}\n");
        workspace.write("services/hello/service.yaml", text);
        let run = run(&workspace, &["build"], &[]);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains(message), "{}", run.stderr);
    }
}
