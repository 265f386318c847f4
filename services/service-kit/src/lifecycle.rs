//! The life of a process: serving, then draining, then stopping.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells the parts of a service that the end has come, and knows the
/// background tasks that must end before the process does. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
    broken: Arc<OnceLock<&'static str>>,
}

/// Notices the end of a task that was not to end, also by a panic.
struct Essential {
    lifecycle: Lifecycle,
    name: &'static str,
}

impl Lifecycle {
    /// Runs a task in the background. Shutdown waits for it, with a limit, so
    /// one that runs for ever must watch [`stopping`](Self::stopping).
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Runs a task without which the service is of no use. When it ends before
    /// it is asked to, by a panic most likely, `/healthz` fails, so that
    /// Kubernetes starts the process again.
    pub fn spawn_essential<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let essential = Essential {
            lifecycle: self.clone(),
            name,
        };
        self.spawn(async move {
            let _noticed = essential;
            task.await;
        });
    }

    /// Completes once no request is open any more and background work is to end.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Whether shutdown has been asked for.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// The essential task that has ended.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        self.broken.get().copied()
    }

    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// Asks the tasks to end and waits until they have. [`serve`](crate::serve)
    /// does it last; tests that serve nothing call it themselves.
    pub async fn stop(&self) {
        self.drain();
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn open_tasks(&self) -> usize {
        self.tasks.len()
    }
}

impl Drop for Essential {
    fn drop(&mut self) {
        if !self.lifecycle.stopping.is_cancelled() {
            tracing::error!(task = self.name, "an essential task has ended");
            let _ = self.lifecycle.broken.set(self.name);
        }
    }
}
