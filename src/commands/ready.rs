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
use crate::plan::Plan;
use crate::secret::{Scrubber, SecretValues};
use crate::stack::{ServiceName, Stack};

use super::status::summary;
use super::{CommandError, Env, places};

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
        let scrubber = Scrubber::new(self.secrets);
        for diagnostic in &mut diagnostics {
            scrub(diagnostic, &scrubber);
        }
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

/// A service may write a password into its log; it must not get from there to the screen.
fn scrub(diagnostic: &mut Diagnostic, scrubber: &Scrubber) {
    let texts = diagnostic
        .notes
        .iter_mut()
        .chain(&mut diagnostic.hints)
        .chain([&mut diagnostic.message]);
    let labels = diagnostic.labels.iter_mut().map(|label| &mut label.text);
    for text in texts.chain(labels) {
        *text = scrubber.text(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretValue;

    #[test]
    fn a_secret_in_a_log_line_is_not_shown() {
        let secrets =
            SecretValues::from([("password".parse().unwrap(), SecretValue::new("hunter22"))]);
        let mut diagnostic = Diagnostic::error(Code::new("S0997"), "as hunter22")
            .note("login as me:hunter22@db failed")
            .hint("not hunter22");
        scrub(&mut diagnostic, &Scrubber::new(&secrets));
        assert_eq!(diagnostic.message, "as <secret password>");
        assert_eq!(
            diagnostic.notes,
            ["login as me:<secret password>@db failed"]
        );
        assert_eq!(diagnostic.hints, ["not <secret password>"]);
    }
}
