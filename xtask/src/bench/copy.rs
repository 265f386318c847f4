//! A copy of this repository in `target/bench/stack`, to be edited and built: never the user's own files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::{process, workspace};

/// The service that is edited.
pub(super) const SERVICE: &str = "birthday";
/// The name of the stack and of its images in the engine, so that they are told from the user's.
pub(super) const STACK: &str = "stackctl-bench";
/// An environment that names the registry.
pub(super) const ENVIRONMENT: &str = "bench";

/// The file that is edited, and what is before and after its number: a default that the binary contains.
const EDITED: &str = "services/birthday/src/lib.rs";
const BEFORE: &str = "env.or(&postgres::DATABASE_CONNECTIONS, ";
const AFTER: &str = ");";

/// The copy.
pub(super) struct Copy {
    folder: PathBuf,
}

impl Copy {
    /// Makes it like the files that git tracks here; what is alike keeps its time, so that nothing is compiled anew.
    pub(super) fn make(registry: Option<&str>) -> Result<Self> {
        let copy = Self {
            folder: Self::keeps("stack"),
        };
        let mut tracked = git(&workspace::root(), &["ls-files", "-z"]);
        let tracked = process::capture(&mut tracked)?;
        let tracked: Vec<&str> = tracked.split_terminator('\0').collect();
        for file in &tracked {
            copy.update(file)?;
        }
        copy.remove_others(&tracked)?;
        if let Some(registry) = registry {
            let text = format!("extends: local\nregistry: {registry}/{STACK}\n");
            write(&copy.environment(), text.as_bytes())?;
        }
        copy.commit()?;
        Ok(copy)
    }

    /// A folder beside the copy that is kept between runs.
    pub(super) fn keeps(name: &str) -> PathBuf {
        workspace::target().join("bench").join(name)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Changes one line of the service to what no build had before.
    pub(super) fn edit(&self) -> Result<()> {
        let path = self.folder.join(EDITED);
        let text = read(&path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let edited = edited(&text, now).with_context(|| {
            format!("{EDITED} has no `{BEFORE}…{AFTER}` any more: tell xtask/src/bench/copy.rs")
        })?;
        write(&path, edited.as_bytes())
    }

    fn update(&self, file: &str) -> Result<()> {
        let (from, to) = (workspace::root().join(file), self.folder.join(file));
        let Ok(mut content) = fs::read(&from) else {
            // Deleted, but not yet for git.
            return Ok(());
        };
        if file == "stack.yaml" {
            content = renamed(&String::from_utf8(content)?).into_bytes();
        }
        let folder = to.parent().context("a file lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if fs::read(&to).ok().as_ref() != Some(&content) {
            write(&to, &content)?;
        }
        fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
        Ok(())
    }

    /// What is here no more is there no more either; what git ignores is the copy's own.
    fn remove_others(&self, tracked: &[&str]) -> Result<()> {
        process::capture(&mut git(&self.folder, &["init", "--quiet"]))?;
        let args = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        let found = process::capture(&mut git(&self.folder, &args))?;
        for file in found.split_terminator('\0') {
            let (there, here) = (self.folder.join(file), workspace::root().join(file));
            if there.is_file() && !(tracked.contains(&file) && here.is_file()) {
                fs::remove_file(&there)
                    .with_context(|| format!("cannot remove {}", there.display()))?;
            }
        }
        Ok(())
    }

    fn environment(&self) -> PathBuf {
        self.folder.join(format!("environments/{ENVIRONMENT}.yaml"))
    }

    /// A repository with one edit in it, as its user has it.
    fn commit(&self) -> Result<()> {
        process::capture(&mut git(&self.folder, &["add", "--all"]))?;
        let options = [
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@localhost",
            "-c",
            "commit.gpgsign=false",
        ];
        let commit = [
            "commit",
            "--quiet",
            "--allow-empty",
            "--no-verify",
            "-m",
            "bench",
        ];
        process::capture(git(&self.folder, &options).args(commit)).map(drop)
    }
}

/// The one line, with another number in it.
fn edited(text: &str, number: u128) -> Option<String> {
    let (before, rest) = text.split_once(BEFORE)?;
    let (old, after) = rest.split_once(AFTER)?;
    old.parse::<u128>().ok()?;
    Some(format!("{before}{BEFORE}{number}{AFTER}{after}"))
}

/// `stack.yaml` with the name of the copy.
fn renamed(stack: &str) -> String {
    let lines = stack.lines().map(|line| match line.starts_with("name:") {
        true => format!("name: {STACK}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

fn git(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).args(args);
    command
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_edited_in_a_way_that_the_binary_shows() {
        let text = "a\n    let n = env.or(&postgres::DATABASE_CONNECTIONS, 8);\nb(8);\n";
        let expected = "a\n    let n = env.or(&postgres::DATABASE_CONNECTIONS, 17);\nb(8);\n";
        assert_eq!(edited(text, 17).as_deref(), Some(expected));
        assert_eq!(edited("fn main() {}\n", 17), None);
    }

    #[test]
    fn the_line_is_there() {
        let text = read(&workspace::root().join(EDITED)).expect("the service's code");
        assert!(edited(&text, 17).is_some());
    }

    #[test]
    fn the_copy_has_a_name_of_its_own() {
        let stack = "# name: x\nname: seedling\nservices: [a]\n";
        assert_eq!(
            renamed(stack),
            "# name: x\nname: stackctl-bench\nservices: [a]\n"
        );
    }
}
