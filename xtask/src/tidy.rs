//! `cargo xtask tidy`: the rules of the architecture that a compiler does not check.
//!
//! | rule | where |
//! |---|---|
//! | files open with `//!`, stop at 800 lines, and are named after what is in them | `files` |
//! | modules of `src/` import downwards only, and pure ones do no I/O | `layers` |
//! | crates depend on those the design allows | `crates` |
//! | a code of a problem is given once | `codes` |

mod codes;
mod crates;
mod files;
mod layers;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Checks the whole repository and prints every violation.
pub(crate) fn run() -> Result<()> {
    let files = load(&workspace::root())?;
    let mut violations = Vec::new();
    for file in &files {
        violations.extend(files::check(file));
        violations.extend(layers::check(file));
    }
    violations.extend(crates::check(&files));
    violations.extend(codes::check(&files));
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("tidy: {} files", files.len());
            Ok(())
        }
        count => bail!("tidy: {count} violations in {} files", files.len()),
    }
}

/// A file of the repository that a rule reads: Rust source or a `Cargo.toml`.
struct SourceFile {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// A broken rule and where.
#[derive(Debug, PartialEq)]
struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 3] = [".git", "target", "fixtures"];

fn load(root: &Path) -> Result<Vec<SourceFile>> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    let read = |path: &PathBuf| {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path
            .strip_prefix(root)?
            .to_string_lossy()
            .replace('\\', "/");
        Ok(SourceFile { path, text })
    };
    paths.iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_ref()) {
                collect(&entry.path(), paths)?;
            }
        } else if name == "Cargo.toml" || name.ends_with(".rs") {
            paths.push(entry.path());
        }
    }
    Ok(())
}
