//! Compiling while somebody edits. Cargo reads a source at a time of its own; what was edited and restored around that
//! time is compiled as it was in between. So a run counts only if nobody wrote to its sources meanwhile.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::build::{Session, changed_meanwhile};
use super::build_error::BuildError;
use super::cargo::{Compilation, Compiled};
use super::freshness::Results;
use super::progress::Task;
use super::snapshot::{self, Snapshot};
use super::spec::ImageSpec;

/// Who edits for longer than this many runs is told so.
const RUNS: usize = 3;

/// Compiles until what was compiled is what is there.
pub(crate) async fn compile(
    session: &Session<'_>,
    compilation: &Compilation<'_>,
    results: &Results<'_>,
    members: &[(&ImageSpec, &Task<'_>)],
) -> Result<Compiled, BuildError> {
    let cancel = session.context.cancel;
    let specs: Vec<&ImageSpec> = members.iter().map(|(spec, _)| *spec).collect();
    let tasks: Vec<&Task<'_>> = members.iter().map(|(_, task)| *task).collect();
    let files: BTreeSet<PathBuf> = specs
        .iter()
        .flat_map(|spec| snapshot::files(&spec.inputs))
        .collect();
    let mut before = BTreeSet::new();
    let mut runs = 0;
    loop {
        let snapshot = Snapshot::with_folders(results.root, files.iter().cloned());
        let compiled = compilation
            .run(&tasks, session.context.timings, cancel)
            .await?;
        // First what is there now, then whether it was all the time.
        session.check_unchanged(&specs)?;
        let touched = snapshot.touched();
        if is_settled(&touched, &before) {
            return Ok(compiled);
        }
        runs += 1;
        if runs == RUNS {
            let of_this = |spec: &&ImageSpec| {
                snapshot::files(&spec.inputs).any(|file| touched.contains(&file))
            };
            let spec = specs.iter().copied().find(of_this).unwrap_or(specs[0]);
            return Err(changed_meanwhile(spec, &touched));
        }
        results.forget_unnoticed(&touched, cancel).await?;
        before = touched;
    }
}

/// What two runs in a row write and leave as it was, they write themselves: some build scripts generate sources.
fn is_settled(touched: &BTreeSet<PathBuf>, before: &BTreeSet<PathBuf>) -> bool {
    touched.is_empty() || (!before.is_empty() && touched.is_subset(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_run_writes_is_settled() {
        let set = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        for (touched, before, expected) in [
            (&[][..], &[][..], true),
            (&["a"], &[], false),
            (&["a"], &["a"], true),
            (&["a"], &["a", "b"], true),
            (&["a", "b"], &["a"], false),
            (&[], &["a"], true),
        ] {
            assert_eq!(
                is_settled(&set(touched), &set(before)),
                expected,
                "{touched:?} after {before:?}"
            );
        }
    }
}
