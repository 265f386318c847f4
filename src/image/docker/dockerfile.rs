//! Building a Dockerfile: with BuildKit where the engine has it, else with the classic builder.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use bollard::errors::Error as DockerError;
use bollard::models::{BuildInfo, BuildInfoAux};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt};

use crate::diagnostic::SourceFile;
use crate::image::assemble::labels;
use crate::image::build::{Job, changed_meanwhile};
use crate::image::build_error::BuildError;
use crate::image::files::read_error;
use crate::image::input_error::InputError;
use crate::image::progress::{Tail, Task};
use crate::image::spec::ImageSpec;
use crate::stack::DockerfileBuild;

use super::archive::archive;
use super::buildkit::{self, BuildKitBuild};
use super::classic;
use super::context::{Context, ContextError};
use super::engine::{Builder, Engine, Reason};
use super::failure::{At, DockerfileError, Failure, Scene, explain};
use super::instructions::Instructions;
use super::secrets::Secrets;
use super::session::{Logins, Offer, Session};
use super::trace::Trace;

/// Where the ssh agent of the caller listens.
const AGENT: &str = "SSH_AUTH_SOCK";

/// What both builders are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Recipe {
    /// Where the Dockerfile is in the context.
    pub dockerfile: String,
    pub target: String,
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub cache_from: Vec<String>,
    /// Empty: the engine's.
    pub platform: String,
}

/// Who hears what a build says.
pub(super) trait Listener: Sync {
    /// What it does.
    fn progress(&self, message: &str);
    /// A line of a program.
    fn output(&self, line: &str);
}

impl Listener for Task<'_> {
    fn progress(&self, message: &str) {
        Task::progress(self, message);
    }

    fn output(&self, line: &str) {
        Task::output(self, line);
    }
}

/// Messages of an engine that builds.
pub(super) type Messages<'a> = BoxStream<'a, Result<BuildInfo, DockerError>>;

/// Builds without a tag and returns the image's id: only the caller knows whether the sources are still the same.
pub(crate) async fn build(job: &Job<'_>, build: &DockerfileBuild) -> Result<String, BuildError> {
    tokio::select! {
        built = run(job, build) => built,
        // Without its connection the engine gives up the build.
        () = job.cancel.cancelled() => Err(BuildError::Interrupted),
    }
}

async fn run(job: &Job<'_>, build: &DockerfileBuild) -> Result<String, BuildError> {
    let root = &job.stack.root;
    let context = Context::read(root, build).map_err(inputs)?;
    let is_new = |file: &PathBuf| !job.spec.inputs.contains("file", &file.to_string_lossy());
    let new: BTreeSet<PathBuf> = context.files(build).into_iter().filter(is_new).collect();
    if !new.is_empty() {
        return Err(changed_meanwhile(job.spec, &new));
    }
    let text = fs::read_to_string(root.join(&build.dockerfile))
        .map_err(|source| inputs(read_error(&build.dockerfile, source)))?;
    let instructions = Instructions::read(&SourceFile::new(&build.dockerfile, text));
    let offer = Offer {
        secrets: Secrets::read(root, build)?,
        agent: agent(build)?,
        logins: Logins::load(instructions.stages().iter().map(|stage| stage.base)),
    };
    let secrets = offer.secrets.clone();
    let action = || BuildError::engine(format!("build {}", job.spec.service));
    let refuse = |reason| classic::refuse(build, &instructions, reason);
    let session = session(job.engine, offer, refuse)
        .await
        .map_err(|error| match error {
            Refused::Engine(error) => action()(error),
            Refused::Builder(error) => error.into(),
        })?;
    let recipe = recipe(job.spec, build, &context);
    let files = context.clone();
    let (pieces, writing) = archive(move |writer| {
        let mut writer = files.write(writer)?;
        writer.flush().map_err(ContextError::Write)
    });
    let messages = start(job.engine, &recipe, session.as_ref(), pieces, &instructions);
    let ended = match messages.await {
        Ok(messages) => hear(messages, job.task, &secrets).await,
        Err(error) => Ended::of(error),
    };
    sent(writing.await, job.spec)?;
    match ended {
        Ended::Image(id) => Ok(id),
        Ended::Broken(error) => Err(action()(error)),
        Ended::Failed(failure) => {
            let scene = Scene {
                service: &job.spec.service,
                build,
                instructions: &instructions,
                context: &context,
            };
            Err(explain(&scene, failure).into())
        }
    }
}

/// Why there is no session, and no build either.
pub(super) enum Refused {
    /// The engine does not answer.
    Engine(DockerError),
    /// The classic builder cannot do what is asked for.
    Builder(DockerfileError),
}

/// Opens a session where BuildKit is to build; `refuse` says what the classic builder cannot do.
pub(super) async fn session(
    engine: &Engine,
    offer: Offer,
    refuse: impl Fn(Reason) -> Option<DockerfileError>,
) -> Result<Option<Session>, Refused> {
    let reason = match engine.builder().await.map_err(Refused::Engine)? {
        Builder::BuildKit => match Session::open(engine, offer)
            .await
            .map_err(Refused::Engine)?
        {
            Some(session) => return Ok(Some(session)),
            None => Reason::Lacking,
        },
        Builder::Classic(reason) => reason,
    };
    match refuse(reason) {
        Some(error) => Err(Refused::Builder(error)),
        None => Ok(None),
    }
}

/// Starts a build: with BuildKit if there is a session for it.
pub(super) fn start<'a>(
    engine: &'a Engine,
    recipe: &'a Recipe,
    session: Option<&'a Session>,
    context: impl Stream<Item = Bytes> + Send + 'static,
    instructions: &'a Instructions,
) -> BoxFuture<'a, Result<Messages<'a>, DockerError>> {
    async move {
        match session {
            Some(session) => {
                let build = BuildKitBuild {
                    parameters: recipe.parameters(),
                    session,
                };
                buildkit::start(engine, build, context).await
            }
            None => Ok(classic::start(engine, recipe, context, instructions).await),
        }
    }
    .boxed()
}

fn inputs(error: InputError) -> BuildError {
    BuildError::Inputs(error.into())
}

/// What went wrong on our side goes before what the engine made of it.
fn sent(
    archived: Result<Result<(), ContextError>, tokio::task::JoinError>,
    spec: &ImageSpec,
) -> Result<(), BuildError> {
    match archived {
        Ok(Err(ContextError::Read(error))) => Err(inputs(error)),
        Ok(Err(error @ ContextError::Entry(_))) if !is_broken_pipe(&error) => {
            Err(BuildError::File {
                action: format!("send the build context of {}", spec.service),
                source: io::Error::other(error),
            })
        }
        // An engine that stops reading says why in its answer.
        _ => Ok(()),
    }
}

fn is_broken_pipe(error: &ContextError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::BrokenPipe;
        }
        next = error.source();
    }
    false
}

fn agent(build: &DockerfileBuild) -> Result<Option<PathBuf>, DockerfileError> {
    let Some(span) = &build.ssh else {
        return Ok(None);
    };
    let missing = |reason: String| DockerfileError::Agent {
        reason,
        span: span.clone(),
    };
    let socket = env::var_os(AGENT)
        .map(PathBuf::from)
        .ok_or_else(|| missing(format!("${AGENT} is not set")))?;
    match std::os::unix::net::UnixStream::connect(&socket) {
        Ok(_) => Ok(Some(socket)),
        Err(error) => Err(missing(format!("`{}`: {error}", socket.display()))),
    }
}

fn recipe(spec: &ImageSpec, build: &DockerfileBuild, context: &Context) -> Recipe {
    Recipe {
        dockerfile: context.dockerfile.clone(),
        target: build.target.clone().unwrap_or_default(),
        args: build.args.clone(),
        labels: labels(spec),
        cache_from: build.cache_from.clone(),
        platform: build
            .platform
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    }
}

impl Recipe {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let json = |value: serde_json::Value| value.to_string();
        let cache_from = match self.cache_from.is_empty() {
            true => String::new(),
            false => json(self.cache_from.clone().into()),
        };
        vec![
            ("dockerfile", self.dockerfile.clone()),
            ("target", self.target.clone()),
            ("buildargs", json(serde_json::json!(self.args))),
            ("labels", json(serde_json::json!(self.labels))),
            ("cachefrom", cache_from),
            ("platform", self.platform.clone()),
            ("rm", "1".to_owned()),
            ("forcerm", "1".to_owned()),
        ]
    }
}

/// How a build ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The id of the image.
    Image(String),
    /// The engine could not build it.
    Failed(Failure),
    /// The connection broke.
    Broken(DockerError),
}

impl Ended {
    fn of(error: DockerError) -> Self {
        let message = match error {
            DockerError::DockerStreamError { error } => error,
            DockerError::DockerResponseServerError { message, .. } => message,
            error => return Self::Broken(error),
        };
        Self::Failed(Failure {
            message,
            at: At::Nowhere,
            tail: Vec::new(),
        })
    }
}

/// Passes on what the engine says until it has built or failed.
pub(super) async fn hear(
    mut messages: Messages<'_>,
    listener: &dyn Listener,
    secrets: &Secrets,
) -> Ended {
    let mut heard = Heard {
        listener,
        secrets,
        image: None,
        step: None,
        tail: Tail::default(),
        trace: Trace::default(),
    };
    let failure = loop {
        match messages.next().await {
            None => break None,
            Some(Ok(info)) => heard.hear(info),
            Some(Err(error)) => break Some(error),
        }
    };
    heard.end(failure)
}

struct Heard<'a> {
    listener: &'a dyn Listener,
    secrets: &'a Secrets,
    image: Option<String>,
    /// Of the classic builder.
    step: Option<usize>,
    tail: Tail,
    trace: Trace,
}

impl Heard<'_> {
    fn hear(&mut self, info: BuildInfo) {
        if let Some(image) = buildkit::image(&info) {
            self.image = Some(image.to_owned());
        }
        if let Some(BuildInfoAux::BuildKit(status)) = info.aux {
            self.trace.hear(status, self.listener, self.secrets);
        }
        if let Some(status) = info.status {
            self.listener.progress(&status);
        }
        for line in info.stream.iter().flat_map(|text| text.lines()) {
            let line = self.secrets.hide(line.trim_end());
            if let Some(step) = classic::step(&line) {
                self.step = Some(step.number);
                self.listener.progress(&step.text());
            } else if !classic::is_chatter(&line) {
                self.tail.push(&line);
                self.listener.output(&line);
            }
        }
    }

    fn end(mut self, failure: Option<DockerError>) -> Ended {
        let error = match (failure, self.image.take()) {
            (None, Some(image)) => return Ended::Image(image),
            (None, None) => DockerError::DockerStreamError {
                error: "it named no image".to_owned(),
            },
            (Some(error), _) => error,
        };
        let (failed, trace) = self.trace.end(self.listener, self.secrets);
        match (Ended::of(error), failed) {
            (Ended::Failed(failure), Some(vertex)) => Ended::Failed(Failure {
                message: self.secrets.hide(&failure.message),
                at: At::Vertex(vertex.step),
                tail: trace,
            }),
            (Ended::Failed(failure), None) => Ended::Failed(Failure {
                message: self.secrets.hide(&failure.message),
                at: self.step.map_or(At::Nowhere, At::Step),
                tail: self.tail.into_lines(),
            }),
            (ended, _) => ended,
        }
    }
}

#[cfg(test)]
mod tests;
