//! `stackctl down`: deletes what carries the stack's labels; data stays unless it is asked for.

use std::time::Duration;

use crate::cluster::{self, LockOptions, Objects};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::execute::delete::{self, DeleteRequest};
use crate::settings::Place;
use crate::stack::Stack;

use super::connect::connect;
use super::{CommandError, Env, Outcome, interrupted};

/// The environment is protected and nobody said yes.
const PROTECTED: Code = Code::new("S0650");
/// Pods have a grace period of 30 s; finalizers and volumes take their time.
const DEADLINE: Duration = Duration::from_secs(180);

/// How `down` works.
#[derive(Clone, Copy, Debug)]
pub struct DownSettings {
    /// Also volumes, generated secrets and the namespace.
    pub data: bool,
    /// Whether the user has said yes beforehand.
    pub yes: bool,
}

/// Deletes the stack from its environment.
pub async fn down(
    place: &Place,
    settings: DownSettings,
    ask: fn(&str) -> bool,
    env: &Env,
) -> Result<Outcome, CommandError> {
    let stack = place.load()?;
    let cluster = connect(&stack, place, env).await?;
    confirm(&stack, &cluster.context, settings, ask, env).await?;
    let kinds = cluster::discover_all(&cluster.client).await?;
    let objects = Objects::new(cluster.client.clone(), kinds);
    let exists = objects
        .get(&crate::manifest::namespace(&stack).reference())
        .await?
        .is_some();
    let lock = match exists {
        true => Some(
            cluster::acquire(
                &cluster.client,
                LockOptions::of(&stack),
                env.events.as_ref(),
                &env.cancel,
            )
            .await?,
        ),
        false => None,
    };
    let request = DeleteRequest {
        stack: &stack.name,
        environment: &stack.environment.name,
        namespace: &stack.environment.namespace,
        services: None,
        data: settings.data,
        deadline: DEADLINE,
    };
    Ok(Outcome::Deleted(
        delete::down(&objects, &request, lock, env.events.as_ref(), &env.cancel).await?,
    ))
}

async fn confirm(
    stack: &Stack,
    context: &str,
    settings: DownSettings,
    ask: fn(&str) -> bool,
    env: &Env,
) -> Result<(), CommandError> {
    let environment = &stack.environment;
    if settings.yes || !(environment.protected || settings.data) {
        return Ok(());
    }
    let what = if settings.data {
        "with its volumes and generated secrets"
    } else {
        "its data stays"
    };
    let question = format!(
        "Delete {} from {} (context {context}, namespace {}), {what}?",
        stack.name, environment.name, environment.namespace
    );
    let asked = question.clone();
    let answer = tokio::task::spawn_blocking(move || ask(&asked));
    tokio::select! {
        answer = answer => if answer.unwrap_or(false) {
            return Ok(());
        },
        () = env.cancel.cancelled() => return Err(interrupted()),
    }
    let refused = Diagnostic::error(PROTECTED, "nothing was deleted: nobody said yes")
        .note(question)
        .hint("answer `yes`, or pass `--yes` where nobody can be asked");
    Err(CommandError {
        exit: Exit::Refused,
        diagnostics: vec![refused],
    })
}
