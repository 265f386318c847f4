//! Which Rust compiler builds here, without starting it each time.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::input_error::InputError;
use super::state_folder::StateFolder;

const CACHE: &str = "rustc.json";

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
    toolchain_file: String,
    settings: Option<FileState>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileState {
    path: PathBuf,
    size: u64,
    modified: u128,
}

impl FileState {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self {
            path: path.to_owned(),
            size: metadata.len(),
            modified: modified.as_nanos(),
        })
    }
}

/// What `rustc -vV` says in the repository; asked once per compiler and kept in `.stackctl/cache`.
pub(crate) fn version(root: &Path) -> Result<String, InputError> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let state = StateFolder::of(root);
    let asked = asked(root, &rustc);
    if let Some(known) = state.cached::<Known>(CACHE)
        && Some(&known.asked) == asked.as_ref()
        && FileState::of(&known.compiler.path).as_ref() == Some(&known.compiler)
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

fn asked(root: &Path, rustc: &str) -> Option<Asked> {
    let toolchain_file = ["rust-toolchain.toml", "rust-toolchain"]
        .iter()
        .find_map(|name| fs::read_to_string(root.join(name)).ok())
        .unwrap_or_default();
    let rustup_home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".rustup")));
    Some(Asked {
        program: FileState::of(&resolve(rustc)?)?,
        toolchain: env::var("RUSTUP_TOOLCHAIN").ok(),
        toolchain_file,
        settings: rustup_home.and_then(|home| FileState::of(&home.join("settings.toml"))),
    })
}

fn resolve(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(program.into());
    }
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
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
