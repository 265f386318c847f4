//! Images that a program of the user makes.

use tokio::process::Command;

use crate::stack::CommandBuild;

use super::build::Job;
use super::build_error::BuildError;
use super::process::{self, ProcessError};
use super::progress::Tail;

/// The variable that names the image to leave in the engine.
const IMAGE: &str = "STACKCTL_IMAGE";

/// Runs the command in the repository and returns the id of the image that it left under the name `image`.
pub(crate) async fn build(
    job: &Job<'_>,
    build: &CommandBuild,
    image: &str,
) -> Result<String, BuildError> {
    let service = || job.spec.service.clone();
    let program = build.command.first().map_or("", String::as_str);
    let mut command = Command::new(program);
    command
        .args(build.command.iter().skip(1))
        .current_dir(&job.stack.root)
        .env(IMAGE, image);
    let mut tail = Tail::default();
    let status = process::run(command, job.cancel, |_, line| {
        tail.push(line);
        job.task.output(line);
    })
    .await
    .map_err(|error| match error {
        ProcessError::Interrupted => BuildError::Interrupted,
        ProcessError::Io(source) => BuildError::Program {
            program: program.to_owned(),
            source,
        },
    })?;
    if !status.success() {
        return Err(BuildError::Command {
            service: service(),
            status: status.to_string(),
            tail: tail.into_lines(),
            span: build.span.clone(),
        });
    }
    let found = job.engine.image_id(image).await;
    found
        .map_err(BuildError::engine(format!("look for {image}")))?
        .ok_or_else(|| BuildError::NoImage {
            service: service(),
            reference: image.to_owned(),
            span: build.span.clone(),
        })
}
