//! Work on threads of its own: files are read and written there, and layers compressed.

/// Nobody waits for this work to answer; a panic goes on where it is awaited.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
