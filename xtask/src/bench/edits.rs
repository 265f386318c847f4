//! One line of one service is edited: what `stackctl build` takes beside cargo, and what `docker build` takes with
//! the same binary.

use std::time::Duration;

use anyhow::Result;

use super::Setup;
use super::cargo::{self, Clock};
use super::copy::{Copy, ENVIRONMENT, SERVICE};
use super::engine::{self, Peer};
use super::report::Report;
use super::subject::Subject;
use super::times::Times;
use crate::needs::Need;

const LIMIT: Duration = Duration::from_millis(300);

/// A place that images go to.
struct Place {
    /// How the rows call it.
    name: &'static str,
    args: [&'static str; 4],
    lacks: Option<Need>,
}

/// `stackctl build` into one place.
struct Ours {
    place: &'static str,
    subject: Subject,
    total: Vec<f64>,
    inside: Vec<f64>,
}

/// Edits and builds again and again, all in turn.
pub(super) fn measure(setup: &Setup, edits: usize, report: &mut Report) -> Result<()> {
    eprintln!("editing {SERVICE} and building it, {edits} times");
    let clock = Clock::install()?;
    let (here, lacking): (Vec<Place>, Vec<Place>) = places(setup)
        .into_iter()
        .partition(|place| place.lacks.is_none());
    let mut ours = here
        .iter()
        .map(|place| Ours::new(place, setup, &clock))
        .collect::<Result<Vec<_>>>()?;
    let mut alone = cargo::build(&setup.copy)?;
    let mut alone_times = Vec::new();
    let mut peers = match setup.has_engine {
        true => engine::peers(),
        false => Vec::new(),
    };
    for round in 0..=edits {
        // The first round warms the caches.
        let counts = round > 0;
        for ours in &mut ours {
            setup.copy.edit()?;
            ours.once(&clock, counts)?;
        }
        run_peers(setup, &mut peers, counts)?;
        setup.copy.edit()?;
        let took = alone.once()?;
        if counts {
            alone_times.push(took);
        }
    }
    for ours in ours {
        ours.add_rows(&alone_times, report);
    }
    if let Some(times) = Times::new(alone_times) {
        report.add(&alone.name, None, times);
    }
    add_missing(&lacking, report);
    add_peers(peers, report);
    Ok(())
}

fn places(setup: &Setup) -> [Place; 2] {
    [
        Place {
            name: "into the engine",
            args: ["build", "local", "--to", "docker"],
            lacks: (!setup.has_engine).then_some(Need::Docker),
        },
        Place {
            name: "into the registry",
            args: ["build", ENVIRONMENT, "--to", "registry"],
            lacks: setup.registry.is_none().then_some(Need::Registry),
        },
    ]
}

/// `stackctl build` of the service.
fn build(setup: &Setup, name: &str, args: &[&str]) -> Subject {
    Subject::new(name, &setup.stackctl, setup.copy.folder())
        .args(args)
        .args(&["--service", SERVICE])
        .env("STACKCTL_CACHE", Copy::keeps("cache"))
}

/// All of them get the binary that stackctl made last.
fn run_peers(setup: &Setup, peers: &mut [Peer], counts: bool) -> Result<()> {
    if peers.is_empty() {
        return Ok(());
    }
    engine::prepare(&cargo::binary(&setup.copy)?)?;
    let archive = format!("archive:{}", engine::archive().display());
    build(setup, "the archive", &["build", "local", "--to", &archive]).once()?;
    for peer in peers {
        peer.once(counts);
    }
    Ok(())
}

fn add_missing(lacking: &[Place], report: &mut Report) {
    for place in lacking {
        if let Some(need) = place.lacks {
            let why = format!("not here: {}; {}", need.name(), need.remedy());
            report.add_missing(&overhead(place.name), Some(LIMIT), &why);
        }
    }
}

fn add_peers(peers: Vec<Peer>, report: &mut Report) {
    for peer in peers {
        match peer.times {
            Err(why) => report.add_missing(&peer.subject.name, None, &why),
            Ok(times) => {
                if let Some(times) = Times::new(times) {
                    report.add(&peer.subject.name, None, times);
                }
            }
        }
    }
}

impl Ours {
    fn new(place: &Place, setup: &Setup, clock: &Clock) -> Result<Self> {
        let name = format!("edit: stackctl build, {}", place.name);
        Ok(Self {
            place: place.name,
            subject: clock.around(build(setup, &name, &place.args))?,
            total: Vec::new(),
            inside: Vec::new(),
        })
    }

    fn once(&mut self, clock: &Clock, counts: bool) -> Result<()> {
        let total = self.subject.once()?;
        let inside = clock.take()?;
        if counts {
            self.total.push(total);
            self.inside.push(inside);
        }
        Ok(())
    }

    /// `alone`: cargo by itself, in the same rounds.
    fn add_rows(self, alone: &[f64], report: &mut Report) {
        let rows = [
            (overhead(self.place), Some(LIMIT), minus(&self.total, alone)),
            (
                format!("edit: all but cargo, {}", self.place),
                Some(LIMIT),
                minus(&self.total, &self.inside),
            ),
            (self.subject.name, None, self.total),
        ];
        for (name, limit, times) in rows {
            if let Some(times) = Times::new(times) {
                report.add(&name, limit, times);
            }
        }
    }
}

fn overhead(place: &str) -> String {
    format!("edit: more than cargo build, {place}")
}

/// Round by round.
fn minus(times: &[f64], others: &[f64]) -> Vec<f64> {
    times.iter().zip(others).map(|(a, b)| a - b).collect()
}
