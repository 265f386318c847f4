//! Which Rust compiler builds here, without starting it each time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::cargo_config::CargoConfig;
use super::environment::Environment;
use super::file_state::FileState;
use super::input_error::InputError;
use super::state_folder::StateFolder;

const CACHE: &str = "rustc.json";
/// The files that choose a toolchain, as rustup prefers them within one folder.
const TOOLCHAIN_FILES: [&str; 2] = ["rust-toolchain", "rust-toolchain.toml"];

/// What a compiler said about itself, and how to see that it would say so again.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    asked: Asked,
    /// The compiler behind rustup's proxy: `rustup update` replaces it.
    compiler: FileState,
    version: String,
}

/// Everything that decides which compiler answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    program: FileState,
    toolchain: Option<String>,
    toolchain_file: Option<(PathBuf, String)>,
    settings: Option<FileState>,
}

/// What `rustc -vV` says in the repository; asked once per compiler and kept in `.stackctl/cache`.
pub(crate) fn version(
    root: &Path,
    config: &CargoConfig,
    environment: &Environment,
) -> Result<String, InputError> {
    let rustc = ["RUSTC", "CARGO_BUILD_RUSTC"]
        .iter()
        .find_map(|name| environment.get(name).map(str::to_owned))
        .or_else(|| config.rustc())
        .unwrap_or_else(|| "rustc".to_owned());
    let state = StateFolder::of(root);
    let asked = asked(root, &rustc, environment);
    if let Some(known) = state.cached::<Known>(CACHE)
        && Some(&known.asked) == asked.as_ref()
        && known.compiler.holds()
    {
        return Ok(known.version);
    }
    let version = run(root, &rustc, &["-vV"])?;
    let sysroot = run(root, &rustc, &["--print", "sysroot"])?;
    let compiler = FileState::of(&Path::new(sysroot.trim()).join("bin/rustc"));
    if let (Some(asked), Some(compiler)) = (asked, compiler) {
        let known = Known {
            asked,
            compiler,
            version,
        };
        state.cache(CACHE, &known);
        return Ok(known.version);
    }
    Ok(version)
}

fn asked(root: &Path, rustc: &str, environment: &Environment) -> Option<Asked> {
    let rustup_home = environment.rustup_home();
    Some(Asked {
        program: FileState::of(&environment.program(rustc)?)?,
        toolchain: environment.get("RUSTUP_TOOLCHAIN").map(str::to_owned),
        toolchain_file: toolchain_file(root),
        settings: rustup_home.and_then(|home| FileState::of(&home.join("settings.toml"))),
    })
}

/// The nearest one: rustup walks up from the repository.
fn toolchain_file(root: &Path) -> Option<(PathBuf, String)> {
    let folders = root.ancestors();
    let mut files = folders.flat_map(|folder| TOOLCHAIN_FILES.map(|name| folder.join(name)));
    files.find_map(|file| {
        let text = fs::read_to_string(&file).ok()?;
        Some((file, text))
    })
}

fn run(root: &Path, rustc: &str, arguments: &[&str]) -> Result<String, InputError> {
    let failed = |source: io::Error| InputError::Compiler {
        rustc: rustc.to_owned(),
        source,
    };
    let output = Command::new(rustc)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(InputError::CompilerFailed {
        rustc: rustc.to_owned(),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_stack::write;
    use super::*;

    #[test]
    fn the_nearest_toolchain_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("team/repo");
        fs::create_dir_all(&root).unwrap();
        let found = || toolchain_file(&root).map(|(_, text)| text);
        for (file, text) in [
            ("rust-toolchain.toml", "outermost"),
            ("team/rust-toolchain", "above"),
            ("team/repo/rust-toolchain.toml", "own"),
            ("team/repo/rust-toolchain", "old name"),
        ] {
            write(folder.path(), &[(file, text)]);
            assert_eq!(found().as_deref(), Some(text), "{file}");
        }
    }
}
