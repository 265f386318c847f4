//! Credential helpers: programs `docker-credential-NAME` that know logins, in the protocol of Docker's command line.

use std::ffi::OsString;
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// A helper may ask a keyring, but not wait for a human.
const LIMIT: Duration = Duration::from_secs(30);
/// Enough for a reason.
const REASON: usize = 300;

/// How helpers are found and how long they may take.
#[derive(Clone, Debug)]
pub(super) struct Helpers {
    /// Folders, as `$PATH` has them.
    pub search: OsString,
    /// For one answer.
    pub limit: Duration,
}

/// Why a helper gave no answer. What it printed is told only where it cannot be a login.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It could not be run.
    #[error("failed to run the credential helper `{helper}`")]
    Run {
        /// The program.
        helper: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It takes too long.
    #[error("the credential helper `{helper}` gave no answer in {} s", limit.as_secs_f32())]
    Silent {
        /// The program.
        helper: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It refused.
    #[error("the credential helper `{helper}` failed: {reason}")]
    Failed {
        /// The program.
        helper: String,
        /// What it said.
        reason: String,
    },
    /// What it printed is no login.
    #[error("the credential helper `{helper}` gave no login in JSON")]
    Answer {
        /// The program.
        helper: String,
    },
}

impl Default for Helpers {
    fn default() -> Self {
        Self {
            search: std::env::var_os("PATH").unwrap_or_default(),
            limit: LIMIT,
        }
    }
}

impl Helpers {
    /// Asks `docker-credential-NAME` for the login of `server`. `None` if it knows none; that it says with an error.
    pub(super) async fn ask(
        &self,
        name: &str,
        server: &str,
    ) -> Result<Option<DockerCredentials>, HelperError> {
        let helper = format!("docker-credential-{name}");
        let output = match timeout(self.limit, self.run(&helper, server)).await {
            Ok(Ok(output)) => output,
            Ok(Err(source)) => return Err(HelperError::Run { helper, source }),
            Err(_) => {
                let limit = self.limit;
                return Err(HelperError::Silent { helper, limit });
            }
        };
        if output.status.success() {
            return match login(&output.stdout, server) {
                Some(login) => Ok(Some(login)),
                None => Err(HelperError::Answer { helper }),
            };
        }
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let reason = reason(&said).unwrap_or_else(|| output.status.to_string());
        Err(HelperError::Failed { helper, reason })
    }

    /// The scripts of `tests/fixtures/credential-helpers`, before all other programs.
    #[cfg(test)]
    pub(super) fn scripts() -> Self {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/credential-helpers:"
        );
        let mut helpers = Self::default();
        let mut search = OsString::from(folder);
        search.push(&helpers.search);
        helpers.search = search;
        helpers
    }

    async fn run(&self, helper: &str, server: &str) -> io::Result<Output> {
        let mut child = Command::new(helper)
            .arg("get")
            .env("PATH", &self.search)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(server.as_bytes()).await {
                // One that has but one login need not read for which.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        child.wait_with_output().await
    }
}

fn login(answer: &[u8], server: &str) -> Option<DockerCredentials> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    // The error of the parser would quote the answer.
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let is_token = answer.username == "<token>";
    Some(DockerCredentials {
        identitytoken: is_token.then(|| answer.secret.clone()),
        username: (!is_token).then_some(answer.username),
        password: (!is_token).then_some(answer.secret),
        serveraddress: Some(server.to_owned()),
        ..DockerCredentials::default()
    })
}

/// The first line of what a helper said; `None` where it said nothing, or something that may be a login.
fn reason(said: &str) -> Option<String> {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty())?;
    let is_json = line.starts_with(['{', '[', '"']);
    (!is_json).then(|| line.chars().take(REASON).collect())
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::time::Instant;

    use super::*;

    /// An error with all its causes, and as programmers see it.
    fn words(error: &HelperError) -> String {
        let mut words = format!("{error} {error:?}");
        let mut next = error.source();
        while let Some(cause) = next {
            words.push_str(&format!(" {cause} {cause:?}"));
            next = cause.source();
        }
        words
    }

    #[tokio::test]
    async fn a_login_is_asked_for_by_the_name_of_the_server() {
        let found = Helpers::scripts()
            .ask("first", "login.example.com")
            .await
            .unwrap();
        let found = found.unwrap();
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (
                Some("first get login.example.com"),
                Some("s3cret-of-a-helper")
            )
        );
        assert_eq!(found.serveraddress.as_deref(), Some("login.example.com"));
        assert_eq!(found.identitytoken, None);
    }

    #[tokio::test]
    async fn a_token_is_no_password() {
        let found = Helpers::scripts()
            .ask("first", "token.example.com")
            .await
            .unwrap();
        let found = found.unwrap();
        assert_eq!(found.identitytoken.as_deref(), Some("s3cret-of-a-helper"));
        assert_eq!((found.username, found.password), (None, None));
    }

    #[tokio::test]
    async fn a_helper_may_know_no_login() {
        let found = Helpers::scripts().ask("first", "unknown.example.com").await;
        assert!(found.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_helper_that_does_not_read_answers_all_the_same() {
        // More than a pipe holds.
        let server = format!("deaf.example.com{}", " ".repeat(200_000));
        let found = Helpers::scripts()
            .ask("deaf", &server)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.username.as_deref(), Some("deaf"));
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_without_what_is_secret() {
        for (name, server, expected) in [
            (
                "first",
                "locked.example.com",
                "the credential helper `docker-credential-first` failed: the keyring is locked",
            ),
            (
                "first",
                "mute.example.com",
                "the credential helper `docker-credential-first` failed: exit status: 3",
            ),
            (
                "first",
                "leak.example.com",
                "the credential helper `docker-credential-first` failed: exit status: 1",
            ),
            (
                "first",
                "text.example.com",
                "the credential helper `docker-credential-first` gave no login in JSON",
            ),
            (
                "missing",
                "login.example.com",
                "failed to run the credential helper `docker-credential-missing`",
            ),
        ] {
            let error = Helpers::scripts().ask(name, server).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
            let words = words(&error);
            assert!(!words.contains("s3cret"), "{words}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_given_up() {
        let helpers = Helpers {
            limit: Duration::from_millis(500),
            ..Helpers::scripts()
        };
        let started = Instant::now();
        let error = helpers.ask("first", "hang.example.com").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the credential helper `docker-credential-first` gave no answer in 0.5 s"
        );
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
