//! The one path of `up` and `deploy`: objects → plan → applied and ready.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::{self, Cluster, Kinds, LockOptions, Objects, ResolvedSecrets};
use crate::event::{Event, Phase};
use crate::execute::apply::{Action, ApplyContext, ApplyReport, Step, Write, apply};
use crate::manifest::{self, Object, Served};
use crate::plan::{self, Observed, Plan, Stage};
use crate::secret::SecretValues;
use crate::settings::Place;
use crate::stack::Stack;

use super::ready::Watched;
use super::render::adapted;
use super::{CommandError, Env};
use super::{guards, places};

/// Objects are written this many at a time: enough to hide the round trips, few enough for a small API server.
const CONCURRENCY: usize = 16;

/// What came of a rollout.
#[derive(Clone, Debug)]
pub struct RolledOut {
    /// What was to be done.
    pub plan: Plan,
    /// What was done; none for a dry run.
    pub report: Option<ApplyReport>,
}

/// What is brought where.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) stack: &'a Stack,
    /// All objects of the stack: digests over Secrets do not depend on what is chosen.
    pub(super) desired: &'a [Object],
    /// Which services of it.
    pub(super) place: &'a Place,
    pub(super) cluster: &'a Cluster,
    /// Whether fields and objects of others become ours.
    pub(super) take_over: bool,
}

/// Brings the cluster to the desired objects and waits until all is ready.
pub(super) async fn roll_out(request: Request<'_>, env: &Env) -> Result<RolledOut, CommandError> {
    let (stack, cluster, take_over) = (request.stack, request.cluster, request.take_over);
    let session = Session::open(request).await?;
    let own_namespace = session.namespace().await?;
    if own_namespace.is_missing() {
        session.make_namespace(env).await?;
    }
    let lock = cluster::acquire(
        &cluster.client,
        LockOptions::of(stack),
        env.events.as_ref(),
        &env.cancel,
    )
    .await?;
    let applied = async {
        let Planned {
            plan,
            steps,
            secrets,
        } = session.plan(own_namespace.is_ours(), true, env).await?;
        let watched = Watched::start(stack, cluster, &plan, &secrets, env).await;
        let context = ApplyContext {
            objects: &session.objects,
            ready: &watched,
            events: env.events.as_ref(),
            cancel: &env.cancel,
            lock: Some(&lock),
            force: take_over,
            concurrency: CONCURRENCY,
        };
        let report = apply(&steps, &context)
            .await
            .map_err(|error| places::of_apply(&error, &plan))?;
        Ok(RolledOut {
            plan,
            report: Some(report),
        })
    }
    .await;
    lock.release().await;
    applied
}

/// What [`roll_out`] would do; nothing is written, and no lock is taken.
pub(super) async fn dry_run(request: Request<'_>, env: &Env) -> Result<RolledOut, CommandError> {
    let session = Session::open(request).await?;
    let namespace = session.namespace().await?;
    let ours = namespace.is_missing() || namespace.is_ours();
    let Planned { plan, .. } = session.plan(ours, false, env).await?;
    Ok(RolledOut { plan, report: None })
}

/// The namespace of the environment as it is found.
enum OwnNamespace {
    Missing,
    Ours,
    Foreign,
}

impl OwnNamespace {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    fn is_ours(&self) -> bool {
        matches!(self, Self::Missing | Self::Ours)
    }
}

/// A plan, ready to be executed.
struct Planned {
    plan: Plan,
    steps: Vec<Step>,
    secrets: SecretValues,
}

/// One run against one cluster.
struct Session<'a> {
    request: Request<'a>,
    objects: Objects,
    /// In versions that the cluster serves.
    desired: Vec<Object>,
}

impl<'a> Session<'a> {
    /// Finds out what the cluster serves; refuses what it does not.
    async fn open(request: Request<'a>) -> Result<Self, CommandError> {
        let groups: BTreeSet<String> = request
            .desired
            .iter()
            .map(|object| object.reference().gvk.group)
            .collect();
        let client = &request.cluster.client;
        let kinds = cluster::discover(client, &groups).await?;
        let desired = adapted(request.desired.to_vec(), &served(&kinds))?;
        Ok(Self {
            objects: Objects::new(client.clone(), kinds),
            request,
            desired,
        })
    }

    async fn namespace(&self) -> Result<OwnNamespace, CommandError> {
        let reference = manifest::namespace(self.request.stack).reference();
        let Some(live) = self.objects.get(&reference).await? else {
            return Ok(OwnNamespace::Missing);
        };
        guards::refuse_terminating(&live)?;
        let label = |name: &str| live["metadata"]["labels"][name].as_str().map(str::to_owned);
        let ours = label(manifest::MANAGED_BY).as_deref() == Some(manifest::MANAGER)
            && label(manifest::PART_OF).as_deref() == Some(self.request.stack.name.as_str());
        Ok(if ours {
            OwnNamespace::Ours
        } else {
            OwnNamespace::Foreign
        })
    }

    /// The lock lives in the namespace, so the namespace comes before everything else.
    async fn make_namespace(&self, env: &Env) -> Result<(), CommandError> {
        let namespace = manifest::namespace(self.request.stack);
        self.objects
            .apply(&namespace.value, cluster::ApplyOptions::default())
            .await?;
        env.events.emit(Event::Note(format!(
            "made the namespace {}",
            self.request.stack.environment.namespace
        )));
        Ok(())
    }

    /// The plan, and the same with the values of secrets as steps to execute. With `write`, generated secrets
    /// that are missing are made, but only once nothing is refused any more.
    async fn plan(
        &self,
        with_namespace: bool,
        write: bool,
        env: &Env,
    ) -> Result<Planned, CommandError> {
        let started = std::time::Instant::now();
        let Request { stack, cluster, .. } = self.request;
        let mut secrets = cluster::resolve(stack, &cluster.client, false).await?;
        let (mut revealed, mut observed) = self.observe(&secrets, with_namespace).await?;
        if !self.request.take_over {
            guards::refuse_foreign(&observed, &revealed, stack)?;
        }
        guards::refuse_immutable(&observed, &revealed)?;
        if write {
            let kept = cluster::resolve(stack, &cluster.client, true).await?;
            if kept != secrets {
                secrets = kept;
                (revealed, observed) = self.observe(&secrets, with_namespace).await?;
            }
        }
        let observed: Vec<Observed> = observed.into_iter().map(as_planned).collect();
        let plan = plan::build(&revealed, &observed);
        env.events.emit(Event::PhaseFinished {
            phase: Phase::Plan,
            summary: plan.summary(),
            elapsed: started.elapsed(),
        });
        if write {
            show_changes(&plan, env);
        }
        let steps = steps(&plan, stack);
        Ok(Planned {
            plan,
            steps,
            secrets: secrets.values,
        })
    }

    /// The chosen objects with the values of secrets, and what the cluster says about them.
    async fn observe(
        &self,
        secrets: &ResolvedSecrets,
        with_namespace: bool,
    ) -> Result<(Vec<Object>, Vec<cluster::Observed>), CommandError> {
        let Request {
            stack,
            place,
            take_over,
            ..
        } = self.request;
        let mut revealed =
            cluster::reveal_all(self.desired.clone(), &secrets.values, &secrets.key)?;
        revealed.retain(|object| {
            object
                .service
                .as_ref()
                .is_none_or(|service| place.includes(service))
        });
        if with_namespace {
            revealed.insert(0, manifest::namespace(stack));
        }
        let values: Vec<Value> = revealed.iter().map(|object| object.value.clone()).collect();
        let observed = cluster::observe(&self.objects, &values, take_over, CONCURRENCY)
            .await
            .map_err(|errors| places::of_objects(&errors, &revealed))?;
        Ok((revealed, observed))
    }
}

fn as_planned(found: cluster::Observed) -> Observed {
    Observed {
        reference: found.reference,
        live: found.live,
        applied: found.applied,
    }
}

/// On the way to a change, what is changed; what is new is counted. A dry run gives the whole table as its result.
fn show_changes(plan: &Plan, env: &Env) {
    for row in plan.rows().into_iter().filter(|row| row.sign != '+') {
        env.events.emit(Event::Change {
            sign: row.sign,
            object: row.object,
            field: row.field,
            values: row.values,
            place: row.place,
        });
    }
}

fn served(kinds: &Kinds) -> Served {
    let mut served = Served::default();
    for (group, version) in kinds.versions() {
        let known: BTreeSet<String> = kinds
            .iter()
            .filter(|resource| resource.gvk.group == *group && resource.gvk.version == *version)
            .map(|resource| resource.gvk.kind.clone())
            .collect();
        served.insert(group, version, (!known.is_empty()).then_some(known));
    }
    served
}

fn steps(plan: &Plan, stack: &Stack) -> Vec<Step> {
    let steps = plan.steps(stack);
    steps
        .into_iter()
        .map(|step| {
            let writes = |workloads: bool| {
                let chosen = step
                    .changes
                    .iter()
                    .filter(|(stage, _)| (*stage == Stage::Workload) == workloads);
                chosen.filter_map(|(_, change)| write(change)).collect()
            };
            Step {
                config: writes(false),
                workloads: writes(true),
                name: step.service,
                needs: step.needs,
            }
        })
        .collect()
}

fn write(change: &plan::Change) -> Option<Write> {
    let action = match change.action {
        plan::Action::Create | plan::Action::Update { .. } => Action::Apply,
        plan::Action::Keep => Action::Keep,
        plan::Action::Delete => return None,
    };
    Some(Write {
        object: change.desired.clone()?,
        action,
    })
}
