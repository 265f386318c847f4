//! Images of layers that are made here, assembled by the engine's own builder: `FROM scratch` and an `ADD` for each
//! layer. What comes out is the engine's: unlike an archive that is loaded it has other times and digests.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};

use bollard::errors::Error as DockerError;
use oci_image::RunConfig;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, SourceFile};

use super::archive::{Pieces, archive};
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
    #[error("{0} has a line break, which a Dockerfile cannot hold there")]
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
    // It is from scratch: the engine pulls nothing.
    let session = match session(engine, Offer::default(), |_| None).await {
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
    // All fields are named, so that one that is added is not forgotten.
    let RunConfig {
        user,
        entrypoint,
        cmd,
        env,
        labels: _,
        working_dir,
        stop_signal,
        exposed_ports,
        volumes,
    } = &assembly.run;
    let mut text = "FROM scratch\n".to_owned();
    let mut line = |keyword: &str, value: &str| {
        writeln!(text, "{keyword} {value}").expect("a string takes everything");
    };
    for index in 0..assembly.layers.len() {
        line("ADD", &format!("{} /", layer_name(index)));
    }
    for (name, value) in env {
        let value = quoted(&format!("the variable {name}"), value)?;
        line("ENV", &format!("{name}={value}"));
    }
    for (keyword, what, value) in [
        ("WORKDIR", "the working directory", working_dir),
        ("USER", "the user", user),
    ] {
        if !value.is_empty() {
            line(keyword, &quoted(what, value)?);
        }
    }
    // The list form is JSON: nothing in these is replaced.
    for (keyword, list) in [("ENTRYPOINT", entrypoint), ("CMD", cmd)] {
        if !list.is_empty() {
            line(keyword, &serde_json::json!(list).to_string());
        }
    }
    if !stop_signal.is_empty() {
        line("STOPSIGNAL", &quoted("the stop signal", stop_signal)?);
    }
    for port in exposed_ports {
        line("EXPOSE", &quoted("a port", port)?);
    }
    if !volumes.is_empty() {
        line("VOLUME", &volume_list(volumes)?);
    }
    Ok(text)
}

/// JSON, too, but variables are replaced in it.
fn volume_list(volumes: &BTreeSet<String>) -> Result<String, AssemblyError> {
    let quoted: Result<Vec<String>, _> = volumes
        .iter()
        .map(|folder| quoted("a volume", folder))
        .collect();
    Ok(serde_json::json!(quoted?).to_string())
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

    fn assembly(run: RunConfig) -> Assembly {
        let layer = || LayerSource {
            size: 0,
            tar: Box::new(io::empty()),
        };
        Assembly {
            layers: vec![layer(), layer()],
            run,
        }
    }

    fn set(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    #[test]
    fn a_dockerfile_says_how_the_image_runs() {
        // All fields: one that is added must be written, too.
        let run = RunConfig {
            user: "65532:65532".to_owned(),
            entrypoint: vec!["/a b".to_owned(), "$X".to_owned()],
            cmd: vec!["--say".to_owned(), "\"1\"\n\\$Y".to_owned()],
            env: [("A".to_owned(), "1 \"$B\" \\".to_owned())].into(),
            labels: [("stackctl.dev/inputs".to_owned(), "1".to_owned())].into(),
            working_dir: "/w".to_owned(),
            stop_signal: "SIGINT".to_owned(),
            exposed_ports: set(&["8080/tcp", "53/udp"]),
            volumes: set(&["/data", "/a $b\"\\"]),
        };
        let expected = [
            "FROM scratch",
            "ADD layer0.tar /",
            "ADD layer1.tar /",
            r#"ENV A="1 \"\$B\" \\""#,
            r#"WORKDIR "/w""#,
            r#"USER "65532:65532""#,
            r#"ENTRYPOINT ["/a b","$X"]"#,
            r#"CMD ["--say","\"1\"\n\\$Y"]"#,
            r#"STOPSIGNAL "SIGINT""#,
            r#"EXPOSE "53/udp""#,
            r#"EXPOSE "8080/tcp""#,
            // Quoted for the engine, which replaces variables here, and that for JSON.
            r#"VOLUME ["\"/a \\$b\\\"\\\\\"","\"/data\""]"#,
        ];
        let text = dockerfile(&assembly(run)).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_not_set_is_not_written() {
        let text = dockerfile(&assembly(RunConfig::default())).unwrap();
        assert_eq!(text, "FROM scratch\nADD layer0.tar /\nADD layer1.tar /\n");
    }

    #[test]
    fn a_line_break_outside_of_a_list_is_refused() {
        let broken = || "a\nUSER 0".to_owned();
        let variable = RunConfig {
            env: [("B".to_owned(), broken())].into(),
            ..RunConfig::default()
        };
        let user = RunConfig {
            user: broken(),
            ..RunConfig::default()
        };
        let signal = RunConfig {
            stop_signal: broken(),
            ..RunConfig::default()
        };
        let port = RunConfig {
            exposed_ports: [broken()].into(),
            ..RunConfig::default()
        };
        for (run, what) in [
            (variable, "the variable B"),
            (user, "the user"),
            (signal, "the stop signal"),
            (port, "a port"),
        ] {
            let error = dockerfile(&assembly(run)).unwrap_err().to_string();
            assert!(error.starts_with(what), "{error}");
        }
    }
}
