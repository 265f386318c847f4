//! `stackctl smoke-test`: the checks of smoke.yaml against what runs.

use std::path::Path;

use crate::cluster::{self, Cluster};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::settings::{Place, ReportSettings};
use crate::stack::{ServiceName, Stack};
use crate::verify::{self, SmokeReport, Suite, ThroughCluster};

use super::connect::connect;
use super::status::look;
use super::{CommandError, Env, Outcome, interrupted};

/// There is nothing to test.
const NOT_DEPLOYED: Code = Code::new("S0992");
/// A report cannot be written.
const UNWRITABLE: Code = Code::new("S0990");

/// Runs the checks of the chosen services.
pub async fn smoke_test(
    place: &Place,
    reports: &ReportSettings,
    env: &Env,
) -> Result<Outcome, CommandError> {
    let stack = place.load()?;
    let suites = verify::load(&stack, &place.services)?.suites;
    let cluster = connect(&stack, place, env).await?;
    let absent = look(&stack, &cluster, place, env).await?.absent;
    let untestable: Vec<&ServiceName> = absent
        .iter()
        .filter(|name| suites.iter().any(|suite| suite.service == **name))
        .collect();
    if !untestable.is_empty() {
        return Err(not_deployed(&untestable, place));
    }
    let report = run_suites(&suites, &stack, &cluster, reports, env).await?;
    Ok(Outcome::Smoked(report))
}

/// Waiting for what was never deployed would only end in a timeout.
fn not_deployed(services: &[&ServiceName], place: &Place) -> CommandError {
    let names: Vec<&str> = services.iter().map(|name| name.as_str()).collect();
    let problem = Diagnostic::error(NOT_DEPLOYED, format!("not deployed: {}", names.join(", ")))
        .hint(format!(
            "`stackctl up {}` builds, deploys and tests",
            place.environment
        ));
    CommandError {
        exit: Exit::NotReady,
        diagnostics: vec![problem],
    }
}

/// Runs checks through port-forwards, and writes the reports also where some fail.
pub(super) async fn run_suites(
    suites: &[Suite],
    stack: &Stack,
    cluster: &Cluster,
    reports: &ReportSettings,
    env: &Env,
) -> Result<SmokeReport, CommandError> {
    let reach = ThroughCluster::new(cluster.client.clone(), stack);
    let used = suites.iter().flat_map(|suite| suite.secrets.keys());
    let secrets = used.cloned().collect();
    let run = async {
        let secrets = cluster::current(stack, &cluster.client, &secrets).await?;
        let report = verify::run(suites, &secrets, &reach, env.events.as_ref()).await?;
        Ok::<_, CommandError>(report)
    };
    let report = tokio::select! {
        report = run => report?,
        () = env.cancel.cancelled() => return Err(interrupted()),
    };
    if let Some(file) = &reports.junit {
        write(file, &verify::junit(&report))?;
    }
    if let Some(file) = &reports.json {
        write(file, &verify::json(&report))?;
    }
    Ok(report.into_result()?)
}

fn write(file: &Path, text: &str) -> Result<(), CommandError> {
    std::fs::write(file, text).map_err(|error| CommandError {
        exit: Exit::Failed,
        diagnostics: vec![Diagnostic::error(
            UNWRITABLE,
            format!("the report {} cannot be written: {error}", file.display()),
        )],
    })
}
