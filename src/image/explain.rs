//! Why an image is built: which of its inputs are not those of the last time.

use serde::{Deserialize, Serialize};

use crate::name::ServiceName;

use super::cache_key::Inputs;
use super::state_folder::StateFolder;

/// Why an image is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// It was never built in this repository.
    First,
    /// These inputs changed since the last build, such as `file services/birthday/src/main.rs`.
    Changed(Vec<InputChange>),
    /// The inputs are the same, but the image is gone.
    Gone,
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputChange {
    /// Such as `file services/birthday/src/main.rs` or `lock serde 1.0.2`.
    pub input: String,
    /// What happened to it.
    pub change: ChangeKind,
}

/// What happened to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It is another one.
    Changed,
}

/// Compares with the inputs of the last build in this repository.
pub(crate) fn reason(state: &StateFolder, service: &ServiceName, now: &Inputs) -> Reason {
    let Some(before) = state.cached::<Inputs>(&file(service)) else {
        return Reason::First;
    };
    let changes = changes(&before, now);
    match changes.is_empty() {
        true => Reason::Gone,
        false => Reason::Changed(changes),
    }
}

/// Keeps the inputs of a build for the next comparison.
pub(crate) fn remember(state: &StateFolder, service: &ServiceName, built: &Inputs) {
    state.cache(&file(service), built);
}

fn file(service: &ServiceName) -> String {
    format!("{service}-inputs.json")
}

fn changes(before: &Inputs, now: &Inputs) -> Vec<InputChange> {
    before
        .changed(now)
        .into_iter()
        .map(|input| InputChange {
            input: input.to_owned(),
            change: match (before.fingerprint(input), now.fingerprint(input)) {
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
                _ => ChangeKind::Changed,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(entries: &[(&str, &str)]) -> Inputs {
        let mut inputs = Inputs::default();
        for (name, fingerprint) in entries {
            inputs.add("file", name, *fingerprint);
        }
        inputs
    }

    #[test]
    fn the_inputs_that_changed_are_named() {
        let root = tempfile::tempdir().unwrap();
        let state = StateFolder::of(root.path());
        let service: ServiceName = "a".parse().unwrap();
        let before = inputs(&[("a", "1"), ("b", "1"), ("c", "1")]);
        assert_eq!(reason(&state, &service, &before), Reason::First);
        remember(&state, &service, &before);
        assert_eq!(reason(&state, &service, &before), Reason::Gone);
        let change = |input: &str, change| InputChange {
            input: input.to_owned(),
            change,
        };
        assert_eq!(
            reason(
                &state,
                &service,
                &inputs(&[("a", "1"), ("b", "2"), ("d", "1")])
            ),
            Reason::Changed(vec![
                change("file b", ChangeKind::Changed),
                change("file c", ChangeKind::Removed),
                change("file d", ChangeKind::Added),
            ])
        );
    }
}
