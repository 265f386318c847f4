//! One build of a repository at a time.

use std::fs::File;
use std::time::Duration;

use crate::event::Event;

use super::build::Session;
use super::build_error::BuildError;
use super::state_folder::StateFolder;

/// Held from before cargo starts until its binaries are in the store.
const LOCK: &str = "build.lock";
/// How often a lock is tried that another process holds.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// The lock of a build; the operating system frees it with the process.
pub(crate) struct Lock {
    _file: File,
    /// Whether another one had it first.
    pub waited: bool,
}

/// Cargo's own lock ends with cargo: until its binaries are read, no other build may write them.
pub(crate) async fn lock(session: &Session<'_>) -> Result<Lock, BuildError> {
    let state = StateFolder::of(&session.stack.root);
    let mut waited = false;
    loop {
        let lock = state.try_lock(LOCK).map_err(|source| BuildError::File {
            action: "lock .stackctl/build.lock".to_owned(),
            source,
        })?;
        if let Some(file) = lock {
            return Ok(Lock {
                _file: file,
                waited,
            });
        }
        if !waited {
            let note = "waiting for another build of this repository";
            session.context.events.emit(Event::Note(note.to_owned()));
            waited = true;
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_INTERVAL) => {}
            () = session.context.cancel.cancelled() => return Err(BuildError::Interrupted),
        }
    }
}
