//! What the `docker` command does with a binary that is compiled already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::copy::{Copy, STACK};
use super::subject::Subject;
use crate::process;

/// All that other programs need to do what stackctl does.
const DOCKERFILE: &str =
    "FROM scratch\nCOPY service /\nUSER 65532:65532\nENTRYPOINT [\"/service\"]\n";

/// The images of the copy in the engine, removed when this is dropped.
pub(super) struct Images;

/// Another program, measured as long as it works.
pub(super) struct Peer {
    pub(super) subject: Subject,
    /// The times, or why there are none.
    pub(super) times: Result<Vec<f64>, String>,
}

impl Drop for Images {
    fn drop(&mut self) {
        let mut list = Command::new("docker");
        list.args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])
            .args(["--filter", &format!("reference={STACK}/*")]);
        // Nobody is left to be told.
        if let Ok(names) = process::capture(&mut list) {
            let mut remove = Command::new("docker");
            let _ = process::output(remove.args(["image", "rm"]).args(names.lines()));
        }
    }
}

impl Peer {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            times: Ok(Vec::new()),
        }
    }

    /// Runs it once more, unless it failed before.
    pub(super) fn once(&mut self, counts: bool) {
        let Ok(times) = &mut self.times else { return };
        match self.subject.once() {
            Ok(took) if counts => times.push(took),
            Ok(_) => {}
            Err(error) => self.times = Err(first_line(&format!("{error:#}"))),
        }
    }
}

/// `docker build` with both builders, and `docker load`.
pub(super) fn peers() -> Vec<Peer> {
    let folder = context();
    let build = |name: &str, buildkit: &str| {
        let tag = format!("{STACK}/peer:{buildkit}");
        let subject = Subject::new(name, "docker", &folder);
        let args = ["build", "--quiet", "--tag", &tag, "."];
        Peer::new(subject.args(&args).env("DOCKER_BUILDKIT", buildkit))
    };
    let load = Subject::new("edit: docker load", "docker", &folder);
    let archive = archive().display().to_string();
    vec![
        build("edit: docker build, classic", "0"),
        build("edit: docker build, BuildKit", "1"),
        Peer::new(load.args(&["load", "--quiet", "--input", &archive])),
    ]
}

/// Gives the peers a binary.
pub(super) fn prepare(binary: &Path) -> Result<()> {
    let folder = context();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(folder.join("Dockerfile"), DOCKERFILE)?;
    fs::copy(binary, folder.join("service"))
        .with_context(|| format!("cannot copy {}", binary.display()))?;
    Ok(())
}

/// What `docker load` reads.
pub(super) fn archive() -> PathBuf {
    Copy::keeps("image.tar")
}

fn context() -> PathBuf {
    Copy::keeps("context")
}

/// A reason fits a row of the table.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_fails_once_is_not_measured() {
        let mut peer = Peer::new(Subject::new("fails", "false", Path::new(".")));
        peer.once(false);
        peer.once(true);
        assert!(peer.times.is_err());
    }

    #[test]
    fn the_reason_is_one_line() {
        let text = "`docker build` ended with 1: ERROR: BuildKit is enabled\n\nhttps://docs.docker.com/go/buildx/\n";
        assert_eq!(
            first_line(text),
            "`docker build` ended with 1: ERROR: BuildKit is enabled"
        );
        assert_eq!(first_line(""), "");
    }
}
