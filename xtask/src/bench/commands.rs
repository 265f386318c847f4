//! Commands with nothing to do: what anybody waits for before anything happens.

use std::path::Path;

use anyhow::Result;

use super::report::Report;
use super::subject::{self, Subject};
use super::times::Times;
use super::{Setup, copy::Copy};
use crate::{process, workspace};

const WITH_ENGINE: &str = "stackctl build, no change, into the engine";
const WITHOUT_ENGINE: &str = "stackctl build --to oci:DIR, no change";

/// Measures them in turn with other programs, whose times tell how busy the machine is.
pub(super) fn measure(setup: &Setup, runs: usize, report: &mut Report) -> Result<()> {
    eprintln!(
        "building the stack of {} (the first time takes minutes)",
        setup.copy.folder().display()
    );
    let mut subjects = subjects(setup);
    let times = subject::in_turn(&mut subjects, runs)?;
    for (subject, times) in subjects.iter().zip(times) {
        if let Some(times) = Times::new(times) {
            report.add(&subject.name, subject.limit, times);
        }
    }
    if !setup.has_engine {
        let limit = Subject::new("", "", Path::new(".")).limit(100).limit;
        report.add_missing(WITH_ENGINE, limit, "no Docker engine");
    }
    Ok(())
}

fn subjects(setup: &Setup) -> Vec<Subject> {
    let root = workspace::root();
    let ours = |name| Subject::new(name, &setup.stackctl, &root);
    let mut subjects = vec![
        ours("stackctl --version").args(&["--version"]).limit(10),
        ours("stackctl render local")
            .args(&["render", "local"])
            .limit(100),
    ];
    if setup.has_engine {
        subjects.push(no_change(setup, WITH_ENGINE, &["build", "local"]));
    }
    let layout = format!("oci:{}", Copy::keeps("delivered").display());
    let args = ["build", "local", "--to", &layout];
    subjects.push(no_change(setup, WITHOUT_ENGINE, &args));
    subjects.push(Subject::new("true", "true", &root));
    if process::exists("kubectl") {
        let args = ["version", "--client"];
        subjects.push(Subject::new("kubectl version --client", "kubectl", &root).args(&args));
    }
    subjects
}

/// All images of the stack; the first round, which is not counted, builds what is missing.
fn no_change(setup: &Setup, name: &str, args: &[&str]) -> Subject {
    let folder = setup.copy.folder();
    Subject::new(name, &setup.stackctl, folder)
        .args(args)
        .env("STACKCTL_CACHE", Copy::keeps("cache"))
        .limit(100)
}
