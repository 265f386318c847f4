//! Building a Dockerfile with the engine's classic builder.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};

use bollard::auth::DockerCredentials;
use bollard::errors::Error as DockerError;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::diagnostic::{SourceFile, Span};
use crate::stack::DockerfileBuild;

use super::assemble::labels;
use super::build::Job;
use super::build_error::BuildError;
use super::context::{Context, ContextError};
use super::docker_config::{DockerConfig, registry_of};
use super::input_error::InputError;
use super::progress::{Tail, Task};
use super::spec::ImageSpec;

/// Pieces of the context on their way to the engine.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 8;

/// What the engine said, until it failed or was done.
#[derive(Default)]
struct Heard {
    step: usize,
    image: Option<String>,
    tail: Tail,
    message: String,
}

/// Builds without a tag and returns the image's id: only the caller knows whether the sources are still the same.
pub(crate) async fn build(job: &Job<'_>, build: &DockerfileBuild) -> Result<String, BuildError> {
    let root = &job.stack.root;
    let context = Context::read(root, build).map_err(inputs)?;
    let text = fs::read_to_string(root.join(&build.dockerfile))
        .map_err(|source| inputs(super::files::read_error(&build.dockerfile, source)))?;
    let options = options(job.spec, build, &context);
    let credentials = credentials(&text).await;
    let (pieces, archive) = archive(context);
    let body = bollard::body_stream(pieces);
    let mut heard = Heard::default();
    let failure = {
        let mut answers = job
            .engine
            .docker()
            .build_image(options, credentials, Some(body));
        loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                () = job.cancel.cancelled() => return Err(BuildError::Interrupted),
            };
            match answer {
                None => break None,
                Some(Ok(info)) => heard.hear(info, job.task),
                Some(Err(error)) => break Some(error),
            }
        }
    };
    sent(archive.await, job.spec)?;
    let message = match (failure, heard.image.take()) {
        (None, Some(image)) => return Ok(image),
        (None, None) => "it named no image".to_owned(),
        (Some(DockerError::DockerStreamError { error }), _) => error,
        (Some(DockerError::DockerResponseServerError { message, .. }), _) => message,
        (Some(error), _) => {
            return Err(BuildError::engine(format!("build {}", job.spec.service))(
                error,
            ));
        }
    };
    Err(failed(job.spec, build, &text, heard.with_message(message)))
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
        Ok(Err(error @ ContextError::Entry(_))) => Err(BuildError::File {
            action: format!("send the build context of {}", spec.service),
            source: io::Error::other(error),
        }),
        // An engine that stops reading says why in its answer.
        Ok(Ok(()) | Err(ContextError::Write(_))) | Err(_) => Ok(()),
    }
}

fn options(spec: &ImageSpec, build: &DockerfileBuild, context: &Context) -> BuildImageOptions {
    let args: HashMap<String, String> = build.args.clone().into_iter().collect();
    let labels: HashMap<String, String> = labels(spec).into_iter().collect();
    BuildImageOptionsBuilder::new()
        .dockerfile(&context.dockerfile)
        .buildargs(&args)
        .labels(&labels)
        .target(build.target.as_deref().unwrap_or_default())
        .rm(true)
        .forcerm(true)
        // Without sessions an answer of BuildKit cannot be read, and 20.10 takes the classic one by default.
        .version(BuilderVersion::BuilderV1)
        .build()
}

/// Logins for the registries of the base images. One that cannot be had is not an error yet: the base image may be
/// public or in the engine already.
async fn credentials(dockerfile: &str) -> Option<HashMap<String, DockerCredentials>> {
    let config = DockerConfig::load().ok()?;
    let mut logins = HashMap::new();
    for registry in base_images(dockerfile).map(registry_of) {
        if let Ok(Some(login)) = config.credentials(registry).await {
            let name = login
                .serveraddress
                .clone()
                .unwrap_or_else(|| registry.to_owned());
            logins.insert(name, login);
        }
    }
    (!logins.is_empty()).then_some(logins)
}

fn base_images(dockerfile: &str) -> impl Iterator<Item = &str> {
    dockerfile.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words
            .next()
            .filter(|word| word.eq_ignore_ascii_case("from"))?;
        words.find(|word| !word.starts_with("--"))
    })
}

type Archived = tokio::task::JoinHandle<Result<(), ContextError>>;

/// Writes the archive on a thread of its own while the engine reads it.
fn archive(context: Context) -> (impl Stream<Item = Bytes> + Send + 'static, Archived) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let archive = tokio::task::spawn_blocking(move || {
        let writer = io::BufWriter::with_capacity(PIECE, Pieces(sender));
        let mut writer = context.write(writer)?;
        writer.flush().map_err(ContextError::Write)
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    (pieces, archive)
}

struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Bytes::copy_from_slice(bytes))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Heard {
    fn with_message(self, message: String) -> Self {
        Self { message, ..self }
    }

    fn hear(&mut self, info: BuildInfo, task: &Task<'_>) {
        if let Some(BuildInfoAux::Default(image)) = info.aux {
            self.image = image.id.or(self.image.take());
        }
        if let Some(status) = info.status {
            task.progress(status);
        }
        for line in info.stream.iter().flat_map(|text| text.lines()) {
            let plain = line.trim_end();
            if let Some(step) = step(plain) {
                self.step = step;
                task.progress(plain);
            } else if !is_chatter(plain) {
                self.tail.push(plain);
                task.output(plain);
            }
        }
    }
}

fn failed(spec: &ImageSpec, build: &DockerfileBuild, text: &str, heard: Heard) -> BuildError {
    let file = SourceFile::new(&build.dockerfile, text);
    let line =
        line_in(&heard.message).or_else(|| instruction_lines(text).nth(heard.step.checked_sub(1)?));
    let place = match line {
        Some(number) => line_span(&file, number),
        None => build.span.clone(),
    };
    BuildError::Dockerfile {
        service: spec.service.clone(),
        message: heard.message.trim_end().to_owned(),
        place,
        tail: heard.tail.into_lines(),
    }
}

/// What the engine says of its own doings; programs do not write like that.
fn is_chatter(line: &str) -> bool {
    const CHATTER: [&str; 4] = [
        " --->",
        "Removing intermediate container ",
        "Successfully built ",
        "Successfully tagged ",
    ];
    line.is_empty() || CHATTER.iter().any(|start| line.starts_with(start))
}

/// `Step 3/5 : RUN cargo build` → 3
fn step(line: &str) -> Option<usize> {
    let (number, _) = line.strip_prefix("Step ")?.split_once('/')?;
    number.parse().ok()
}

/// The line that a parse error names: `dockerfile parse error line 3: unknown instruction: RUNN`.
fn line_in(message: &str) -> Option<usize> {
    let (_, rest) = message.split_once("parse error line ")?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// The first line of each instruction, from 1; comments, blank lines and continuations are none.
fn instruction_lines(text: &str) -> impl Iterator<Item = usize> {
    let escape = match text.lines().next() {
        Some(line) if line.replace(' ', "").eq_ignore_ascii_case("#escape=`") => '`',
        _ => '\\',
    };
    let mut continued = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !continued {
            lines.push(index + 1);
        }
        continued = line.ends_with(escape);
    }
    lines.into_iter()
}

fn line_span(file: &std::sync::Arc<SourceFile>, number: usize) -> Span {
    let line = crate::diagnostic::Position {
        line: number,
        column: 1,
    };
    let start = file.offset(line);
    let length = file.text()[start..].lines().next().map_or(0, str::len);
    Span::new(file, start..start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str = "# syntax\nARG A=1\nFROM --platform=linux/amd64 r.example.com/base:1 AS b\n\nRUN a \\\n  # note\n  b \\\n\n  c\nfrom debian\nCOPY --from=b x y\n";

    #[test]
    fn steps_are_found_in_the_file() {
        let lines: Vec<usize> = instruction_lines(DOCKERFILE).collect();
        assert_eq!(lines, [2, 3, 5, 10, 11]);
        assert_eq!(step("Step 3/5 : RUN a"), Some(3));
        assert_eq!(step(" ---> Running in 1234"), None);
        assert_eq!(
            line_in("dockerfile parse error line 3: unknown instruction: RUNN"),
            Some(3)
        );
        assert_eq!(line_in("failed"), None);
        let windows: Vec<usize> =
            instruction_lines("# escape=`\nRUN a `\nb\nRUN c \\\nRUN d").collect();
        assert_eq!(windows, [2, 4, 5]);
        let file = SourceFile::new("Dockerfile", DOCKERFILE);
        assert_eq!(line_span(&file, 10).text(), "from debian");
    }

    #[test]
    fn base_images_are_found() {
        let images: Vec<&str> = base_images(DOCKERFILE).collect();
        assert_eq!(images, ["r.example.com/base:1", "debian"]);
    }
}
