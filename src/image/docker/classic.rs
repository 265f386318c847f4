//! The classic builder: one container for each step, one message for each line.

use std::collections::HashMap;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::diagnostic::Span;
use crate::stack::DockerfileBuild;

use super::docker_config::{DockerConfig, place_of, registry_of};
use super::dockerfile::{Messages, Recipe};
use super::engine::{Engine, Reason};
use super::failure::DockerfileError;
use super::instructions::Instructions;

/// Flags of instructions that only BuildKit knows: what it says of them is better said before the build.
const FLAGS: [(&str, &[&str]); 3] = [
    ("RUN", &["mount", "network", "security"]),
    ("COPY", &["chmod", "link", "parents", "exclude"]),
    ("ADD", &["chmod", "link", "checksum", "keep-git-dir"]),
];

/// `Step 3/5 : RUN make`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<'a> {
    pub number: usize,
    total: usize,
    instruction: &'a str,
}

impl Step<'_> {
    /// As BuildKit writes it: `[3/5] RUN make`.
    pub(super) fn text(&self) -> String {
        format!("[{}/{}] {}", self.number, self.total, self.instruction)
    }
}

/// Starts a build.
pub(super) async fn start<'a>(
    engine: &'a Engine,
    recipe: &Recipe,
    context: impl Stream<Item = Bytes> + Send + 'static,
    instructions: &Instructions,
) -> Messages<'a> {
    let body = bollard::body_stream(context);
    let credentials = credentials(instructions).await;
    engine
        .docker()
        .build_image(options(recipe), credentials, Some(body))
        .boxed()
}

/// What of a build this builder cannot do.
pub(super) fn refuse(
    build: &DockerfileBuild,
    instructions: &Instructions,
    reason: Reason,
) -> Option<DockerfileError> {
    let refused = |what: String, span: Span| {
        Some(DockerfileError::NeedsBuildKit {
            what,
            lacking: reason == Reason::Lacking,
            span,
        })
    };
    if let Some((id, secret)) = build.secrets.first_key_value() {
        return refused(format!("the build secret `{id}`"), secret.span.clone());
    }
    if let Some(span) = &build.ssh {
        return refused("the ssh agent in a build".to_owned(), span.clone());
    }
    // Its steps lose the platform: some end as images of the engine's own, some fail.
    if let Some(platform) = &build.platform {
        return refused(format!("the platform {platform}"), build.span.clone());
    }
    for instruction in instructions.iter() {
        let known = FLAGS
            .iter()
            .find(|(keyword, _)| *keyword == instruction.keyword);
        let flags = known.map_or(&[][..], |(_, flags)| flags);
        if let Some(flag) = flags.iter().find(|flag| instruction.flag(flag).is_some()) {
            let span = instructions.word(instruction, &format!("--{flag}"));
            return refused(format!("`{} --{flag}`", instruction.keyword), span);
        }
    }
    None
}

/// Reads the line that announces a step.
pub(super) fn step(line: &str) -> Option<Step<'_>> {
    let (count, instruction) = line.strip_prefix("Step ")?.split_once(" : ")?;
    let (number, total) = count.split_once('/')?;
    Some(Step {
        number: number.parse().ok()?,
        total: total.parse().ok()?,
        instruction,
    })
}

/// What the engine says of its own doings; programs do not write like that.
pub(super) fn is_chatter(line: &str) -> bool {
    const CHATTER: [&str; 4] = [
        " --->",
        "Removing intermediate container ",
        "Successfully built ",
        "Successfully tagged ",
    ];
    line.is_empty() || CHATTER.iter().any(|start| line.starts_with(start))
}

fn options(recipe: &Recipe) -> BuildImageOptions {
    let args: HashMap<String, String> = recipe.args.clone().into_iter().collect();
    let labels: HashMap<String, String> = recipe.labels.clone().into_iter().collect();
    let options = BuildImageOptionsBuilder::new()
        .dockerfile(&recipe.dockerfile)
        .buildargs(&args)
        .labels(&labels)
        .target(&recipe.target)
        .rm(true)
        .forcerm(true)
        .version(BuilderVersion::BuilderV1);
    match recipe.cache_from.is_empty() {
        true => options.build(),
        false => options.cachefrom(&recipe.cache_from).build(),
    }
}

/// Logins for the registries of the base images. One that cannot be had is not an error yet: the base image may be
/// public or in the engine already.
async fn credentials(instructions: &Instructions) -> Option<HashMap<String, DockerCredentials>> {
    let config = DockerConfig::load().ok()?;
    let mut logins = HashMap::new();
    for stage in instructions.stages() {
        if let Ok(Some(login)) = config.credentials(&place_of(stage.base)).await {
            let name = login.serveraddress.clone();
            let name = name.unwrap_or_else(|| registry_of(stage.base).to_owned());
            // The engine takes one for each registry.
            logins.entry(name).or_insert(login);
        }
    }
    (!logins.is_empty()).then_some(logins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;

    #[test]
    fn steps_are_read() {
        let found = step("Step 3/5 : RUN a : b").unwrap();
        assert_eq!(
            (found.number, found.text().as_str()),
            (3, "[3/5] RUN a : b")
        );
        for other in [" ---> Running in 1234", "Step by step", "Step 1/2"] {
            assert_eq!(step(other), None);
        }
        assert!(is_chatter(" ---> 1234") && is_chatter("") && !is_chatter("made"));
    }

    #[test]
    fn what_only_buildkit_can_do_is_refused_where_it_is_written() {
        let service = SourceFile::new("service.yaml", "build: { dockerfile: D, ssh: true }\n");
        let build = DockerfileBuild::new("D".into(), Span::new(&service, 9..22));
        let refused = |build: &DockerfileBuild, text: &str| {
            let instructions = Instructions::read(&SourceFile::new("D", text));
            refuse(build, &instructions, Reason::Chosen).map(|error| match error {
                DockerfileError::NeedsBuildKit { what, span, .. } => (what, span.to_string()),
                other => panic!("{other}"),
            })
        };
        let expected = |what: &str, place: &str| Some((what.to_owned(), place.to_owned()));
        assert_eq!(refused(&build, "FROM a\nRUN b --mount\n"), None);
        assert_eq!(
            refused(&build, "FROM a\nRUN --mount=type=cache,target=/c b\n"),
            expected("`RUN --mount`", "D:2:5")
        );
        assert_eq!(
            refused(&build, "FROM a\nCOPY --from=x --link a b\n"),
            expected("`COPY --link`", "D:2:15")
        );
        let mut elsewhere = build.clone();
        elsewhere.platform = Some("linux/arm64".parse().unwrap());
        assert_eq!(
            refused(&elsewhere, ""),
            expected("the platform linux/arm64", "service.yaml:1:10")
        );
        let mut with_agent = build;
        with_agent.ssh = Some(Span::new(&service, 24..33));
        assert_eq!(
            refused(&with_agent, ""),
            expected("the ssh agent in a build", "service.yaml:1:25")
        );
    }
}
