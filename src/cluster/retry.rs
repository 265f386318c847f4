//! Trying again after failures that pass by themselves. For requests that may be sent twice only.

use std::time::Duration;

use kube::core::Status;

/// Attempts in all; the waits between them add up to about six seconds.
const ATTEMPTS: u32 = 7;
/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long one attempt may take: webhooks may use up to 30 seconds of it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(35);

/// Why a request got no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The client's error.
    #[error(transparent)]
    Client(#[from] kube::Error),
    /// No answer.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// Sends a request that may be sent twice until it succeeds or fails for good.
pub(super) async fn idempotent<T, F>(mut send: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match once(send()).await {
            Err(CallError::Client(error)) if is_transient(&error) => {
                tracing::debug!(%error, ?wait, "trying again");
                tokio::time::sleep(jittered(asked_wait(&error).unwrap_or(wait))).await;
                wait *= 2;
            }
            outcome => return outcome,
        }
    }
    once(send()).await
}

/// Sends a request once, with a limit on its time.
pub(super) async fn once<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(ATTEMPT_TIMEOUT, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::TimedOut(ATTEMPT_TIMEOUT)),
    }
}

/// Whether the same request may succeed in a moment.
pub(super) fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => is_transient_status(status),
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

fn is_transient_status(status: &Status) -> bool {
    match status.code {
        429 | 502 | 503 | 504 => true,
        // 500 is also what v1.20 answers to unknown fields: only what is known to pass counts.
        500 => [
            "etcdserver",
            "failed calling webhook",
            "context deadline exceeded",
        ]
        .iter()
        .any(|sign| status.message.contains(sign)),
        _ => false,
    }
}

/// What the server asked for, within reason.
fn asked_wait(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST_WAIT))
}

/// Between one and one and a half times as long, so that many clients do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let random = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    wait + wait * random / 512
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
    }

    #[test]
    fn only_what_passes_by_itself_is_transient() {
        for (code, message, transient) in [
            (429, "too many requests", true),
            (503, "apiserver not ready", true),
            (500, "etcdserver: leader changed", true),
            (
                500,
                "failed calling webhook \"x\": connection refused",
                true,
            ),
            (
                500,
                "failed to create typed patch object: .dota: field not declared in schema",
                false,
            ),
            (409, "conflict", false),
            (404, "not found", false),
        ] {
            assert_eq!(
                is_transient(&api(code, message)),
                transient,
                "{code} {message}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_after_some_seconds_with_the_last_error() {
        let started = tokio::time::Instant::now();
        let mut sent = 0;
        let error = idempotent(|| {
            sent += 1;
            std::future::ready(Err::<(), _>(api(503, &format!("attempt {sent}"))))
        })
        .await
        .unwrap_err();
        assert!(error.to_string().contains("attempt 7"), "{error}");
        let waited = started.elapsed().as_secs_f32();
        assert!((6.3..9.5).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_ends_in_a_timeout() {
        let error = idempotent(std::future::pending::<Result<(), kube::Error>>)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "no answer within 35 s");
    }
}
