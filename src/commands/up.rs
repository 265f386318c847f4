//! `stackctl up`: build, deliver, deploy, smoke-test. It only sequences what the other commands are made of.

use std::time::{Duration, Instant};

use crate::cluster;
use crate::image::BuildReport;
use crate::settings::{Place, ReportSettings};
use crate::verify::{self, SmokeReport};

use super::attach::Shipment;
use super::connect::connect;
use super::deploy::request;
use super::prepare::desired;
use super::rollout::roll_out;
use super::smoke_test::run_suites;
use super::workshop::Workshop;
use super::{CommandError, Env, Outcome, RolledOut};

/// What `up` did.
#[derive(Debug)]
pub struct Up {
    /// What was built.
    pub built: BuildReport,
    /// What was deployed.
    pub rolled_out: RolledOut,
    /// What was proven.
    pub smoke: SmokeReport,
    /// All of it.
    pub elapsed: Duration,
}

/// The main job.
pub async fn up(
    place: &Place,
    reports: &ReportSettings,
    take_over: bool,
    env: &Env,
) -> Result<Outcome, CommandError> {
    let started = Instant::now();
    let mut desired = desired(place, env)?;
    let suites = verify::load(&desired.stack, &place.services)?.suites;
    cluster::check_sources(&desired.stack)?;
    let cluster = connect(&desired.stack, place, env).await?;
    let specs = desired.chosen_images(place);
    let workshop = Workshop::for_cluster(&specs, &desired.stack).await?;
    let way = workshop.way(&desired.stack, &specs, &cluster).await?;
    let route = way.as_ref().map(|way| &way.route);
    let mut built = workshop.build(&desired.stack, &specs, route, env).await?;
    if let Some(way) = &way {
        let delivered = workshop.deliver(way, &mut built, env).await?;
        let shipment = Shipment::to_cluster(&desired.stack, &specs, &workshop.store, env);
        shipment.document(&built, Some(&delivered)).await?;
        desired.take_images(&built, env)?;
    }
    let rolled_out = roll_out(request(&desired, place, &cluster, take_over), env).await?;
    let smoke = run_suites(&suites, &desired.stack, &cluster, reports, env).await?;
    Ok(Outcome::Up(Up {
        built,
        rolled_out,
        smoke,
        elapsed: started.elapsed(),
    }))
}
