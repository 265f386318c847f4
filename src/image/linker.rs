//! The C library and the linker: parts of a static binary that come from this machine. Found through the linker of
//! the target, and digested once per state of their files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::cargo_config::CargoConfig;
use super::environment::Environment;
use super::file_state::FileState;
use super::rustflags;
use super::state_folder::StateFolder;

/// What Rust's standard library and the compiler driver put into a static binary.
const LINKED: [&str; 16] = [
    "libc.a",
    "libm.a",
    "libpthread.a",
    "libdl.a",
    "librt.a",
    "libutil.a",
    "libgcc.a",
    "libgcc_eh.a",
    "rcrt1.o",
    "crt1.o",
    "crti.o",
    "crtn.o",
    "crtbeginS.o",
    "crtbeginT.o",
    "crtendS.o",
    "crtend.o",
];
/// A linker script is short, an archive is not.
const LONGEST_SCRIPT: u64 = 4096;

/// What a linker said, and how to see that it would say so again.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    program: FileState,
    /// What it starts: `ld`, or what `-fuse-ld=` names.
    linkers: Vec<String>,
    files: Vec<Digested>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Digested {
    name: String,
    state: FileState,
    digest: String,
}

/// Digests by name, such as `libc.a`, of what is linked for `triple` beside what cargo compiles. What is not there is
/// left out: whether that is wrong is seen when something is linked.
pub(crate) fn inputs(
    root: &Path,
    triple: &str,
    config: &CargoConfig,
    environment: &Environment,
) -> BTreeMap<String, String> {
    let flags = rustflags::of_user(environment, config, triple);
    let program = program(triple, config, environment, &flags);
    let linkers = linkers(&flags);
    let Some(asked) = environment
        .program(&program)
        .and_then(|path| FileState::of(&path))
    else {
        return BTreeMap::new();
    };
    let state = StateFolder::of(root);
    let cache = format!("linker-{triple}.json");
    let known = state.cached::<Known>(&cache).filter(|known| {
        known.program == asked && known.files.iter().all(|file| file.state.holds())
    });
    let known = known.unwrap_or_else(|| {
        let files = files(&asked.path, &linkers, environment);
        let known = Known {
            files: files.into_iter().filter_map(digested).collect(),
            program: asked,
            linkers,
        };
        state.cache(&cache, &known);
        known
    });
    let files = known.files.into_iter();
    files.map(|file| (file.name, file.digest)).collect()
}

/// As cargo and rustc choose it: flags come behind what cargo is configured with.
fn program(
    triple: &str,
    config: &CargoConfig,
    environment: &Environment,
    flags: &[String],
) -> String {
    let variable = format!(
        "CARGO_TARGET_{}_LINKER",
        triple.to_ascii_uppercase().replace('-', "_")
    );
    let of_flags = rustflags::codegen(flags, "linker").last();
    of_flags
        .or_else(|| environment.get(&variable))
        .map(str::to_owned)
        .or_else(|| config.linker(triple))
        .unwrap_or_else(|| "cc".to_owned())
}

/// What the program may start: `-C link-arg=-fuse-ld=mold` is `ld.mold`.
fn linkers(flags: &[String]) -> Vec<String> {
    let arguments = ["link-arg", "link-args"]
        .into_iter()
        .flat_map(|option| rustflags::codegen(flags, option));
    let chosen = arguments
        .flat_map(str::split_whitespace)
        .filter_map(|argument| argument.strip_prefix("-fuse-ld="))
        .map(|name| match name.contains('/') {
            true => name.to_owned(),
            false => format!("ld.{name}"),
        });
    std::iter::once("ld".to_owned()).chain(chosen).collect()
}

/// The files by name: the linker itself, the ones it starts, and what it links.
fn files(program: &Path, linkers: &[String], environment: &Environment) -> Vec<(String, PathBuf)> {
    let mut files = vec![("the linker".to_owned(), program.to_owned())];
    for name in linkers {
        let found = ask(program, &format!("-print-prog-name={name}"));
        if let Some(path) = found.and_then(|found| environment.program(&found)) {
            files.push((name.clone(), path));
        }
    }
    for name in LINKED {
        let found = ask(program, &format!("-print-file-name={name}")).map(PathBuf::from);
        // What is not found is answered with its name.
        let Some(path) = found.filter(|path| path.is_absolute()) else {
            continue;
        };
        files.extend(named_in_script(&path));
        files.push((name.to_owned(), path));
    }
    files
}

/// `GROUP ( /usr/lib/x86_64-linux-gnu/libm-2.36.a … )`: glibc's libm.a is such a script.
fn named_in_script(path: &Path) -> Vec<(String, PathBuf)> {
    let is_short = fs::metadata(path).is_ok_and(|found| found.len() <= LONGEST_SCRIPT);
    let text = match is_short {
        true => fs::read_to_string(path).unwrap_or_default(),
        false => String::new(),
    };
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    paths
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)))
        .collect()
}

fn ask(program: &Path, question: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(question)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}

fn digested((name, path): (String, PathBuf)) -> Option<Digested> {
    // The state first: a file that is replaced meanwhile is read again the next time.
    let state = FileState::of(&path)?;
    let mut hasher = blake3::Hasher::new();
    let mut file = fs::File::open(&path).ok()?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        };
    }
    Some(Digested {
        name,
        state,
        digest: hasher.finalize().to_hex().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::test_stack::write;
    use super::*;

    const TRIPLE: &str = "x86_64-unknown-linux-gnu";

    /// A linker that knows a C library and counts how often it is asked.
    fn scene() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().display();
        let script = format!(
            "#!/bin/sh\necho x >> {at}/asked\ncase $1 in\n\
             -print-file-name=libc.a) echo {at}/lib/libc.a ;;\n\
             -print-file-name=libm.a) echo {at}/lib/libm.a ;;\n\
             -print-file-name=*) echo ${{1#*=}} ;;\n*) exit 1 ;;\nesac\n"
        );
        let group = format!("/* GNU ld script */\nGROUP ( {at}/lib/libm-2.a )\n");
        write(
            root.path(),
            &[
                ("bin/cc", script.as_str()),
                ("lib/libc.a", "one"),
                ("lib/libm.a", &group),
                ("lib/libm-2.a", "one"),
            ],
        );
        let program = root.path().join("bin/cc");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    fn found(root: &Path) -> BTreeMap<String, String> {
        let path = root.join("bin");
        let environment = Environment::from_iter([("PATH", path.to_str().unwrap())]);
        inputs(root, TRIPLE, &CargoConfig::default(), &environment)
    }

    #[test]
    fn the_c_library_and_what_its_scripts_name_are_digested_and_nothing_is_asked_twice() {
        let root = scene();
        let first = found(root.path());
        let names: Vec<&str> = first.keys().map(String::as_str).collect();
        assert_eq!(names, ["libc.a", "libm-2.a", "libm.a", "the linker"]);
        let asked = || fs::read_to_string(root.path().join("asked")).unwrap().len();
        let once = asked();
        assert_eq!(found(root.path()), first);
        assert_eq!(asked(), once, "nothing changed");
        for file in ["libc.a", "libm-2.a"] {
            let before = found(root.path());
            write(root.path(), &[(&format!("lib/{file}"), "another")]);
            let after = found(root.path());
            let changed: Vec<&str> = after
                .iter()
                .filter(|(name, digest)| before[*name] != **digest)
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(changed, [file]);
        }
    }

    #[test]
    fn a_linker_that_is_not_there_is_no_input() {
        let root = tempfile::tempdir().unwrap();
        assert!(found(root.path()).is_empty());
    }

    #[test]
    fn the_linker_is_the_one_that_cargo_takes() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[(
                ".cargo/config.toml",
                "[target.x86_64-unknown-linux-gnu]\nlinker = 'clang'\n",
            )],
        );
        let config = CargoConfig::load(root.path(), None).unwrap();
        let none = Environment::default();
        let chosen = |config: &CargoConfig, environment: &Environment| {
            program(TRIPLE, config, environment, &[])
        };
        assert_eq!(chosen(&config, &none), "clang");
        assert_eq!(chosen(&CargoConfig::default(), &none), "cc");
        let set =
            Environment::from_iter([("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "other")]);
        assert_eq!(chosen(&config, &set), "other");
        let flags = ["-C", "linker=gcc", "-Clink-arg=-fuse-ld=mold"].map(str::to_owned);
        assert_eq!(program(TRIPLE, &config, &set, &flags), "gcc");
        assert_eq!(linkers(&flags), ["ld", "ld.mold"]);
    }
}
