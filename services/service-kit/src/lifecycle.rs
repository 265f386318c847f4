//! The life of a process: serving, then draining, then stopping.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells the parts of a service that the end has come, and knows the
/// background tasks that must end before the process does. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
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

    /// Completes once no request is open any more and background work is to end.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Whether shutdown has been asked for.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
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
