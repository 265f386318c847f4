//! Images of layers that are made here, assembled by the engine's own builder: `FROM scratch` and an `ADD` for each
//! layer. What comes out is the engine's: unlike an archive that is loaded it has other times and digests.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};

use bollard::errors::Error as DockerError;
use oci_image::RunConfig;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, SourceFile};

use super::archive::{Pieces, archive};
use super::docker_config::DockerConfig;
use super::dockerfile::{Ended, Listener, Recipe, Refused, hear, session, start};
use super::instructions::Instructions;
use super::secrets::Secrets;
use super::session::Offer;

use super::engine::Engine;

/// The engine could not assemble an image.
const ASSEMBLY: Code = Code::new("S0445");
const DOCKERFILE: &str = "Dockerfile";

/// An image before it is assembled.
pub struct Assembly {
    /// Lowest first.
    pub layers: Vec<LayerSource>,
    /// How it runs, with its labels.
    pub run: RunConfig,
}

/// A layer: an uncompressed tar archive.
pub struct LayerSource {
    /// In bytes.
    pub size: u64,
    /// Its content.
    pub tar: Box<dyn Read + Send>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// A Dockerfile cannot express it.
    #[error("{0} has a line break, which no Dockerfile can hold")]
    LineBreak(String),
    /// A layer cannot be read.
    #[error("failed to read a layer")]
    Layer(#[source] io::Error),
    /// The engine does not want it.
    #[error("the Docker engine could not assemble the image: {0}")]
    Failed(String),
    /// The connection broke.
    #[error("the Docker engine failed to assemble the image")]
    Engine(#[source] DockerError),
}

/// Builds and tags the image, and returns its id; `progress` hears the steps.
pub async fn assemble_with_engine(
    engine: &Engine,
    assembly: Assembly,
    reference: &str,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<String, AssemblyError> {
    let text = dockerfile(&assembly)?;
    let instructions = Instructions::read(&SourceFile::new(DOCKERFILE, text.clone()));
    let recipe = Recipe {
        dockerfile: DOCKERFILE.to_owned(),
        labels: assembly.run.labels.clone(),
        ..Recipe::default()
    };
    let offer = Offer {
        logins: DockerConfig::load().ok(),
        ..Offer::default()
    };
    let session = match session(engine, offer, |_| None).await {
        Ok(session) => session,
        Err(Refused::Engine(error)) => return Err(AssemblyError::Engine(error)),
        Err(Refused::Builder(error)) => return Err(AssemblyError::Failed(error.to_string())),
    };
    let (pieces, writing) = archive(move |writer| write(writer, &text, assembly.layers));
    let messages = start(engine, &recipe, session.as_ref(), pieces, &instructions).await;
    let ended = match messages {
        Ok(messages) => hear(messages, &Steps(progress), &Secrets::default()).await,
        Err(error) => Ended::Broken(error),
    };
    if let Ok(Err(error)) = writing.await
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(AssemblyError::Layer(error));
    }
    let id = match ended {
        Ended::Image(id) => id,
        Ended::Failed(failure) => return Err(AssemblyError::Failed(failure.message)),
        Ended::Broken(error) => return Err(AssemblyError::Engine(error)),
    };
    engine
        .tag(&id, reference)
        .await
        .map_err(AssemblyError::Engine)?;
    Ok(id)
}

struct Steps<'a>(&'a (dyn Fn(&str) + Sync));

impl Listener for Steps<'_> {
    fn progress(&self, message: &str) {
        (self.0)(message);
    }

    fn output(&self, _line: &str) {}
}

fn write(mut writer: Pieces, dockerfile: &str, layers: Vec<LayerSource>) -> io::Result<()> {
    let mut archive = tar::Builder::new(&mut writer);
    let header = |size| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header
    };
    archive.append_data(
        &mut header(dockerfile.len() as u64),
        DOCKERFILE,
        dockerfile.as_bytes(),
    )?;
    for (index, mut layer) in layers.into_iter().enumerate() {
        let name = layer_name(index);
        archive.append_data(&mut header(layer.size), name, &mut layer.tar)?;
    }
    archive.into_inner()?;
    writer.flush()
}

fn layer_name(index: usize) -> String {
    format!("layer{index}.tar")
}

/// Labels go with the request.
fn dockerfile(assembly: &Assembly) -> Result<String, AssemblyError> {
    let run = &assembly.run;
    let mut text = "FROM scratch\n".to_owned();
    let mut line = |keyword: &str, value: &str| {
        writeln!(text, "{keyword} {value}").expect("a string takes everything");
    };
    for index in 0..assembly.layers.len() {
        line("ADD", &format!("{} /", layer_name(index)));
    }
    for (name, value) in &run.env {
        let value = quoted(&format!("the variable {name}"), value)?;
        line("ENV", &format!("{name}={value}"));
    }
    if !run.working_dir.is_empty() {
        line(
            "WORKDIR",
            &quoted("the working directory", &run.working_dir)?,
        );
    }
    if !run.user.is_empty() {
        line("USER", &run.user);
    }
    if !run.entrypoint.is_empty() {
        // The list form is JSON: nothing in it is replaced.
        line("ENTRYPOINT", &serde_json::json!(run.entrypoint).to_string());
    }
    Ok(text)
}

fn quoted(what: &str, value: &str) -> Result<String, AssemblyError> {
    if value.contains(['\n', '\r']) {
        return Err(AssemblyError::LineBreak(what.to_owned()));
    }
    let mut text = "\"".to_owned();
    for char in value.chars() {
        if matches!(char, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(char);
    }
    text.push('"');
    Ok(text)
}

impl Explain for AssemblyError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = Diagnostic::error(ASSEMBLY, self.to_string());
        vec![match self {
            Self::LineBreak(_) => error.hint("build it natively: without `--builder docker`"),
            Self::Failed(_) => error,
            Self::Layer(source) => error.caused_by(source),
            Self::Engine(source) => error.caused_by(source),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_says_how_the_image_runs() {
        let layer = || LayerSource {
            size: 0,
            tar: Box::new(io::empty()),
        };
        let run = RunConfig {
            user: "65532:65532".to_owned(),
            entrypoint: vec!["/a b".to_owned(), "$X".to_owned()],
            env: [("A".to_owned(), "1 \"$B\" \\".to_owned())].into(),
            working_dir: "/w".to_owned(),
            ..RunConfig::default()
        };
        let mut assembly = Assembly {
            layers: vec![layer(), layer()],
            run,
        };
        assert_eq!(
            dockerfile(&assembly).unwrap(),
            "FROM scratch\nADD layer0.tar /\nADD layer1.tar /\nENV A=\"1 \\\"\\$B\\\" \\\\\"\nWORKDIR \"/w\"\nUSER 65532:65532\nENTRYPOINT [\"/a b\",\"$X\"]\n"
        );
        assembly.run.env.insert("B".to_owned(), "a\nb".to_owned());
        assert!(
            dockerfile(&assembly)
                .unwrap_err()
                .to_string()
                .contains("variable B")
        );
    }
}
