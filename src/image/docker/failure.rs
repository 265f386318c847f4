//! Why a Dockerfile could not be built: the engine's words, and the place in the user's files they are about.

use std::sync::OnceLock;

use regex::Regex;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Span, did_you_mean};
use crate::name::ServiceName;
use crate::stack::DockerfileBuild;

use super::context::Context;
use super::docker_config::registry_of;
use super::instructions::{Instruction, Instructions};

/// The engine could not build a Dockerfile.
const DOCKERFILE: Code = Code::new("S0410");
/// The classic builder cannot do it.
const BUILDKIT: Code = Code::new("S0441");
/// A secret of a build that is not there.
const SECRET: Code = Code::new("S0442");
/// No ssh agent for a build.
const AGENT: Code = Code::new("S0443");

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Why there is no image of a Dockerfile.
#[derive(Debug, thiserror::Error)]
pub enum DockerfileError {
    /// The engine could not build it.
    #[error("the Docker engine could not build {service}: {message}")]
    Failed {
        /// Whose.
        service: ServiceName,
        /// What went wrong, on one line.
        message: String,
        /// The instruction that failed, else where the Dockerfile is named.
        place: Box<Span>,
        /// The last lines of output.
        tail: Vec<String>,
        /// What the user can do.
        hints: Vec<String>,
    },
    /// The classic builder does not know it.
    #[error("{what} needs BuildKit")]
    NeedsBuildKit {
        /// Such as `a build secret`.
        what: String,
        /// Whether the engine has none; else `DOCKER_BUILDKIT=0` chose the classic builder.
        lacking: bool,
        /// Where it is asked for.
        span: Span,
    },
    /// A secret's value cannot be had.
    #[error("there is no value for the build secret `{id}`: {reason}")]
    Secret {
        /// The secret.
        id: String,
        /// Such as `$NPM_TOKEN is not set`.
        reason: String,
        /// Where it is declared.
        span: Span,
    },
    /// There is no ssh agent.
    #[error("there is no ssh agent for the build: {reason}")]
    Agent {
        /// Such as `$SSH_AUTH_SOCK is not set`.
        reason: String,
        /// Where it is asked for.
        span: Span,
    },
}

/// What a build was made from.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub service: &'a ServiceName,
    pub build: &'a DockerfileBuild,
    pub instructions: &'a Instructions,
    pub context: &'a Context,
}

/// What the engine said.
#[derive(Debug)]
pub(super) struct Failure {
    pub message: String,
    pub at: At,
    pub tail: Vec<String>,
}

/// How the engine names the instruction that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Not at all, or within the message.
    Nowhere,
    /// The classic builder: `Step 3/5`.
    Step(usize),
    /// BuildKit: `[build 2/5] RUN make`.
    Vertex(String),
}

/// What there is to say.
struct Finding {
    message: String,
    place: Span,
    hints: Vec<String>,
}

/// Finds the place and the words for a failure.
pub(super) fn explain(scene: &Scene<'_>, failure: Failure) -> DockerfileError {
    let found = syntax(scene, &failure.message)
        .or_else(|| target(scene, &failure.message))
        .or_else(|| base_image(scene, &failure))
        .or_else(|| step(scene, &failure))
        .unwrap_or_else(|| Finding {
            message: brief(&failure.message),
            place: scene.build.span.clone(),
            hints: Vec::new(),
        });
    DockerfileError::Failed {
        service: scene.service.clone(),
        message: found.message,
        place: Box::new(found.place),
        tail: failure.tail,
        hints: found.hints,
    }
}

/// `dockerfile parse error line 3: unknown instruction: RUNN`
fn syntax(scene: &Scene<'_>, message: &str) -> Option<Finding> {
    static LINE: OnceLock<Regex> = OnceLock::new();
    let pattern = LINE.get_or_init(|| regex(r"parse error (?:on )?line (\d+): (?s:(.*))"));
    let captures = pattern.captures(message)?;
    let place = scene.instructions.line(captures[1].parse().ok()?)?;
    let text = captures[2].lines().next().unwrap_or_default().trim();
    let mut hints = Vec::new();
    let unknown = text.strip_prefix("unknown instruction: ");
    if let Some(word) = unknown.and_then(|rest| rest.split_whitespace().next())
        && let Some(near) = did_you_mean(&word.to_ascii_uppercase(), KEYWORDS)
    {
        hints.push(format!("did you mean `{near}`?"));
    }
    Some(Finding {
        message: text.to_owned(),
        place,
        hints,
    })
}

/// `target` of service.yaml names no stage.
fn target(scene: &Scene<'_>, message: &str) -> Option<Finding> {
    let target = scene.build.target.as_deref()?;
    let unknown = message.contains("failed to reach build target")
        || (message.contains("target stage") && message.contains("could not be found"));
    if !unknown {
        return None;
    }
    Some(Finding {
        message: format!("there is no stage `{target}`"),
        place: scene.build.span.clone(),
        hints: stage_hint(scene, target),
    })
}

/// An image that a `FROM` or a `--from` names cannot be had.
fn base_image(scene: &Scene<'_>, failure: &Failure) -> Option<Finding> {
    const UNAVAILABLE: [&str; 9] = [
        "not found",
        "failed to resolve",
        "manifest unknown",
        "unauthorized",
        "no such host",
        "dial tcp",
        "timeout",
        "denied",
        "connection refused",
    ];
    if !UNAVAILABLE
        .iter()
        .any(|words| failure.message.contains(words))
    {
        return None;
    }
    let (instruction, image) = pulled(scene.instructions, failure)?;
    let place = scene.instructions.word(instruction, image);
    if instruction.keyword != "FROM" && !image.contains(['/', ':', '@', '.']) {
        return Some(Finding {
            message: format!("there is neither a stage nor an image `{image}`"),
            place,
            hints: stage_hint(scene, image),
        });
    }
    Some(Finding {
        message: format!(
            "the image `{image}` cannot be had: {}",
            brief(&failure.message)
        ),
        place,
        hints: near_stage(scene, image)
            .into_iter()
            .chain([image_hint(image, &failure.message)])
            .collect(),
    })
}

/// The instruction that wants an image, and the image; BuildKit names only the latter.
fn pulled<'a>(
    instructions: &'a Instructions,
    failure: &Failure,
) -> Option<(&'a Instruction, &'a str)> {
    let stages = instructions.stages();
    let image = |found: &'a Instruction| {
        let image = named_image(found)?;
        let is_stage = stages.iter().any(|stage| stage.name == Some(image))
            || image.chars().all(|c| c.is_ascii_digit());
        (!is_stage).then_some((found, image))
    };
    let vertex = match &failure.at {
        At::Step(number) => return image(instructions.step(*number)?),
        At::Vertex(name) => name.as_str(),
        At::Nowhere => "",
    };
    instructions.iter().filter_map(image).find(|(_, image)| {
        let full = familiar(image);
        let request = full.split_once('/').and_then(|(_, path)| {
            let (name, tag) = path.rsplit_once(':')?;
            Some(format!("/{name}/manifests/{tag}"))
        });
        vertex.contains(&full)
            || failure.message.contains(&full)
            || request.is_some_and(|request| failure.message.contains(&request))
    })
}

fn image_hint(image: &str, message: &str) -> String {
    let registry = registry_of(image);
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&[
        "dial tcp",
        "no such host",
        "timeout",
        "connection refused",
        "TLS handshake",
    ]) {
        format!(
            "the engine pulls it from {registry}, which it cannot reach; an image that `docker image ls` lists is not pulled"
        )
    } else if says(&["denied", "unauthorized", "authorization"]) {
        format!("is the name right? If it is private: `docker login {registry}`")
    } else {
        format!("is there such a tag in {registry}?")
    }
}

/// The instruction that failed, whatever it does.
fn step(scene: &Scene<'_>, failure: &Failure) -> Option<Finding> {
    let instruction = match &failure.at {
        At::Nowhere => return None,
        At::Step(number) => scene.instructions.step(*number)?,
        At::Vertex(name) => vertex(scene.instructions, name)?,
    };
    let place = scene.instructions.span(instruction);
    match instruction.keyword.as_str() {
        "RUN" => Some(command(instruction, failure, place)),
        "COPY" | "ADD" => Some(
            missing_source(scene, instruction, &failure.message).unwrap_or_else(|| Finding {
                message: brief(&failure.message),
                place,
                hints: Vec::new(),
            }),
        ),
        _ => Some(Finding {
            message: brief(&failure.message),
            place,
            hints: Vec::new(),
        }),
    }
}

fn command(instruction: &Instruction, failure: &Failure, place: Span) -> Finding {
    static CODE: OnceLock<Regex> = OnceLock::new();
    let pattern = CODE.get_or_init(|| regex(r"(?:exit code|non-zero code): (\d+)"));
    let message = &failure.message;
    let mut hints = Vec::new();
    let no_shell = |text: &String| text.contains("/bin/sh") && text.contains("no such file");
    if no_shell(message) || failure.tail.last().is_some_and(no_shell) {
        hints.push(
            "the image has no shell: write the command as a list, `RUN [\"program\", \"argument\"]`"
                .to_owned(),
        );
    }
    let code = pattern.captures(message).map(|found| found[1].to_owned());
    match code.as_deref() {
        Some("137") => hints.push(
            "it was killed, mostly because the engine's machine had too little memory".to_owned(),
        ),
        Some("127") => hints.push("a program that it calls is not in the image".to_owned()),
        _ => {}
    }
    let text = shortened(&instruction.plain());
    Finding {
        message: match code {
            Some(code) => format!("`{text}` failed with exit code {code}"),
            None => format!("`{text}` could not be run: {}", brief(message)),
        },
        place,
        hints,
    }
}

/// A source of `COPY` that is not where it is copied from.
fn missing_source(scene: &Scene<'_>, instruction: &Instruction, message: &str) -> Option<Finding> {
    let absent = [
        "not found",
        "no such file",
        "does not exist",
        "no source files",
    ];
    if !absent.iter().any(|words| message.contains(words)) {
        return None;
    }
    let sources = sources(instruction);
    if let Some(from) = instruction.flag("from") {
        let missing = sources
            .iter()
            .find(|source| message.contains(inside(source)))?;
        return Some(Finding {
            message: format!("`{missing}` is not in `{from}`"),
            place: scene.instructions.word(instruction, missing),
            hints: Vec::new(),
        });
    }
    let missing = sources.iter().find(|source| {
        let plain = !source.contains(['$', '*', '?', '[']) && !source.contains("://");
        plain && !scene.context.has(source)
    })?;
    let mut hints = Vec::new();
    if scene.context.is_ignored(missing) {
        hints.push("it is there, but .dockerignore leaves it out".to_owned());
    } else if let Some(near) = did_you_mean(inside(missing), scene.context.paths()) {
        hints.push(format!("did you mean `{near}`?"));
    }
    Some(Finding {
        message: format!(
            "`{missing}` is not in the build context `{}`",
            scene.context.name()
        ),
        place: scene.instructions.word(instruction, missing),
        hints,
    })
}

/// All words of a `COPY` but the last, in both of its forms.
fn sources(instruction: &Instruction) -> Vec<String> {
    let words: Vec<&str> = instruction.words().collect();
    let mut list: Vec<String> = serde_json::from_str(&words.join(" "))
        .unwrap_or_else(|_| words.into_iter().map(str::to_owned).collect());
    list.pop();
    list
}

/// `/a`, `./a` and `a` are the same in a context.
fn inside(path: &str) -> &str {
    path.trim_start_matches("./").trim_start_matches('/')
}

/// The instruction of `[linux/amd64 build 2/5] RUN make`.
fn vertex<'a>(instructions: &'a Instructions, name: &str) -> Option<&'a Instruction> {
    let (head, text) = name.strip_prefix('[')?.split_once("] ")?;
    let mut words = head.split_whitespace().rev();
    let (index, total) = words.next()?.split_once('/')?;
    let (index, total): (usize, usize) = (index.parse().ok()?, total.parse().ok()?);
    let stages = instructions.stages();
    let stage = match words.next().filter(|word| !word.contains('/')) {
        None => 0,
        Some(stage) => match stages.iter().position(|found| found.name == Some(stage)) {
            Some(place) => place,
            None => stage.strip_prefix("stage-")?.parse().ok()?,
        },
    };
    let base = stages.get(stage)?.base;
    let pulled = base != "scratch" && !stages[..stage].iter().any(|found| found.name == Some(base));
    // Newer versions count `WORKDIR`, older ones do not.
    let counted = |workdir: bool| -> Vec<&Instruction> {
        let counts = |keyword: &str| match keyword {
            "ADD" | "COPY" | "RUN" => true,
            "WORKDIR" => workdir,
            "FROM" => pulled,
            _ => false,
        };
        instructions
            .iter()
            .filter(|found| found.stage == stage && counts(&found.keyword))
            .collect()
    };
    let keyword = text.split_whitespace().next()?;
    [true, false]
        .into_iter()
        .map(counted)
        .filter(|list| list.len() == total)
        .find_map(|list| list.get(index.checked_sub(1)?).copied())
        .filter(|found| found.keyword == keyword)
        .or_else(|| instructions.iter().find(|found| found.plain() == text))
}

/// What `FROM` or `--from` names.
fn named_image(instruction: &Instruction) -> Option<&str> {
    match instruction.keyword.as_str() {
        "FROM" => instruction.words().next(),
        _ => instruction.flag("from"),
    }
}

/// `debian` → `docker.io/library/debian:latest`
fn familiar(image: &str) -> String {
    let registry = registry_of(image);
    let path = image
        .strip_prefix(registry)
        .map_or(image, |rest| rest.trim_start_matches('/'));
    let library = match registry {
        "docker.io" if !path.contains('/') => "library/",
        _ => "",
    };
    let tagged = path.contains('@') || path.rsplit('/').next().is_some_and(|n| n.contains(':'));
    let tag = if tagged { "" } else { ":latest" };
    format!("{registry}/{library}{path}{tag}")
}

/// The stage with a similar name, else all of them.
fn stage_hint(scene: &Scene<'_>, name: &str) -> Vec<String> {
    let stages = scene.instructions.stages();
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage.name).collect();
    match near_stage(scene, name) {
        None if !names.is_empty() => vec![format!("its stages are {}", names.join(", "))],
        near => near.into_iter().collect(),
    }
}

fn near_stage(scene: &Scene<'_>, name: &str) -> Option<String> {
    let stages = scene.instructions.stages();
    let near = did_you_mean(name, stages.iter().filter_map(|stage| stage.name))?;
    Some(format!("did you mean the stage `{near}`?"))
}

/// Without the layers of wrapping that BuildKit puts before what happened.
fn brief(message: &str) -> String {
    let mut text = message.trim();
    const WRAPPINGS: [&str; 6] = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to create LLB definition: ",
        "failed to solve: ",
        "rpc error: code = Unknown desc = ",
        "failed to compute cache key: ",
        "failed to calculate checksum of ref ",
    ];
    while let Some(rest) = WRAPPINGS
        .iter()
        .find_map(|wrapping| text.strip_prefix(wrapping))
    {
        text = rest;
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{}…", start.trim_end())
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is part of the program")
}

impl Explain for DockerfileError {
    fn exit(&self) -> Exit {
        match self {
            Self::Failed { .. } => Exit::Failed,
            _ => Exit::BadInput,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        vec![match self {
            Self::Failed {
                place, tail, hints, ..
            } => {
                let error = error(DOCKERFILE).at(place, "");
                let error = match tail.is_empty() {
                    true => error,
                    false => error.note(tail.join("\n")),
                };
                hints.iter().fold(error, Diagnostic::hint)
            }
            Self::NeedsBuildKit { lacking, span, .. } => {
                error(BUILDKIT).at(span, "").hint(match lacking {
                    true => "this engine has only the classic builder: Docker has BuildKit since 18.09",
                    false => "DOCKER_BUILDKIT=0 chose the classic builder: unset it",
                })
            }
            Self::Secret { span, .. } => error(SECRET).at(span, "").hint(
                "`secrets` of a build are `{ env: VARIABLE }` or `{ file: PATH }`, relative to the repository",
            ),
            Self::Agent { span, .. } => error(AGENT)
                .at(span, "")
                .hint("start one and load your key: `eval \"$(ssh-agent)\" && ssh-add`"),
        }]
    }
}

#[cfg(test)]
mod tests;
