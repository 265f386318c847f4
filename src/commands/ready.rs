//! Waiting for services over one watch, with causes at the lines of the user's files and without secrets.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use k8s_model::ObjectRef;

use crate::cluster::Cluster;
use crate::diagnosis::ServiceStatus;
use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::event::Event;
use crate::execute::apply::{NotReady, Ready};
use crate::execute::{Target, WaitError, Watch, until_ready};
use crate::manifest::{NAME, Object, PART_OF};
use crate::name::SecretName;
use crate::plan::Plan;
use crate::secret::{self, Encoding, SecretValue, SecretValues};
use crate::stack::{ServiceName, Stack};

use super::status::summary;
use super::{CommandError, Env, places};

/// A secret shorter than this is not looked for in logs: it would be found everywhere.
const SHORTEST_SECRET: usize = 6;

/// A service that left the stack still runs.
const LEFTOVER: Code = Code::new("S0723");

/// The label selector of everything that belongs to a stack.
pub(super) fn selector(stack: &Stack) -> String {
    format!("{PART_OF}={}", stack.name)
}

/// Waits by a watch that was started before anything was applied.
pub(super) struct Watched<'a> {
    stack: &'a Stack,
    cluster: &'a Cluster,
    objects: Vec<Object>,
    secrets: &'a SecretValues,
    env: &'a Env,
    watch: Watch,
}

impl<'a> Watched<'a> {
    pub(super) async fn start(
        stack: &'a Stack,
        cluster: &'a Cluster,
        plan: &Plan,
        secrets: &'a SecretValues,
        env: &'a Env,
    ) -> Self {
        let namespace = stack.environment.namespace.as_str();
        let watch = Watch::start(&cluster.client, namespace, &selector(stack)).await;
        for leftover in summary(&watch.observed(), stack) {
            if !stack.services.contains_key(&leftover.service) {
                env.events
                    .emit(Event::Warning(still_there(&leftover, stack)));
            }
        }
        let objects = plan
            .changes
            .iter()
            .filter_map(|change| change.desired.clone())
            .collect();
        Self {
            stack,
            cluster,
            objects,
            secrets,
            env,
            watch,
        }
    }

    async fn one(&self, service: &ServiceName, workload: &ObjectRef) -> Result<Duration, NotReady> {
        let target = Target {
            service: service.clone(),
            workload: workload.clone(),
            ready_within: self
                .stack
                .services
                .get(service)
                .map(|service| service.ready_within)
                .unwrap_or_default(),
            // Not the start of the run: what this service needs may have been away until now.
            since: self.watch.now(),
        };
        let waited = until_ready(
            &self.watch,
            &self.cluster.client,
            &target,
            self.env.events.as_ref(),
            &self.env.cancel,
        );
        waited
            .await
            .map_err(|error| Box::new(self.explained(&error)) as NotReady)
    }

    fn explained(&self, error: &WaitError) -> Explained {
        let mut diagnostics = match error {
            WaitError::Broken(cause) => {
                vec![cause.diagnostic(|reference, pointer| {
                    places::place(&self.objects, reference, pointer)
                })]
            }
            other => other.diagnostics(),
        };
        diagnostics
            .iter_mut()
            .for_each(|diagnostic| scrub(diagnostic, self.secrets));
        Explained(CommandError {
            exit: error.exit(),
            diagnostics,
        })
    }
}

impl Ready for Watched<'_> {
    fn ready<'b>(
        &'b self,
        service: &'b ServiceName,
        workloads: &'b [ObjectRef],
    ) -> BoxFuture<'b, Result<(), NotReady>> {
        async move {
            try_join_all(workloads.iter().map(|workload| self.one(service, workload))).await?;
            Ok(())
        }
        .boxed()
    }
}

/// A service that left the stack goes on running: nothing that is not rendered is deleted but by `down`.
fn still_there(leftover: &ServiceStatus, stack: &Stack) -> Diagnostic {
    let (service, namespace) = (&leftover.service, &stack.environment.namespace);
    Diagnostic::warning(LEFTOVER, format!("{service} is no longer in the stack and still deployed"))
        .note(leftover.workload.to_string())
        .hint(format!(
            "`kubectl delete all,configmap,secret,serviceaccount,poddisruptionbudget -n {namespace} -l {NAME}={service},{PART_OF}={}`",
            stack.name
        ))
}

/// A [`CommandError`] on its way through [`NotReady`].
struct Explained(CommandError);

impl Explain for Explained {
    fn exit(&self) -> Exit {
        self.0.exit
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        self.0.diagnostics.clone()
    }
}

/// A service may write a password into its log, as it is or as it stands in a URL; it must not get from there
/// to the screen.
fn scrub(diagnostic: &mut Diagnostic, secrets: &SecretValues) {
    let mut needles: Vec<(String, String)> = secrets
        .iter()
        .flat_map(|(name, value)| needles(name, value))
        .collect();
    // A secret that begins with another one would leave its end behind.
    needles.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.len()));
    let texts = diagnostic
        .notes
        .iter_mut()
        .chain(&mut diagnostic.hints)
        .chain([&mut diagnostic.message]);
    let labels = diagnostic.labels.iter_mut().map(|label| &mut label.text);
    for text in texts.chain(labels) {
        for (needle, name) in &needles {
            if text.contains(needle.as_str()) {
                *text = text.replace(needle, &format!("<secret {name}>"));
            }
        }
    }
}

/// The forms in which a value may turn up: each of its lines, plain and in every encoding.
fn needles(name: &SecretName, value: &SecretValue) -> Vec<(String, String)> {
    let value = value.expose();
    let encoded = [Encoding::Url, Encoding::Base64].map(|encoding| secret::encode(value, encoding));
    let forms = value
        .lines()
        .map(|line| line.trim().to_owned())
        .chain([value.to_owned()])
        .chain(encoded);
    forms
        .filter(|form| form.len() >= SHORTEST_SECRET)
        .map(|form| (form, name.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_log_line_is_not_shown() {
        let secrets = SecretValues::from([
            (
                "key".parse().unwrap(),
                SecretValue::new("-----BEGIN\nabcdefgh\n-----END"),
            ),
            ("longer".parse().unwrap(), SecretValue::new("hunter22XYZ")),
            ("odd".parse().unwrap(), SecretValue::new("p@ss/word")),
            ("password".parse().unwrap(), SecretValue::new("hunter22")),
            ("pin".parse().unwrap(), SecretValue::new("1")),
        ]);
        let shown = |line: &str| {
            let mut diagnostic = Diagnostic::error(Code::new("S0997"), "m").note(line);
            scrub(&mut diagnostic, &secrets);
            diagnostic.notes.remove(0)
        };
        for (line, expected) in [
            (
                "login as me:hunter22@db failed (1)",
                "login as me:<secret password>@db failed (1)",
            ),
            ("hunter22XYZ", "<secret longer>"),
            (
                "postgres://u:p%40ss%2Fword@db",
                "postgres://u:<secret odd>@db",
            ),
            ("cEBzcy93b3Jk", "<secret odd>"),
            ("line: abcdefgh", "line: <secret key>"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }
}
