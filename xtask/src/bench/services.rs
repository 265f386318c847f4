//! The services under load: each as a process on loopback, beside a handler that does nothing and what the stores'
//! own benchmarks reach, all in turn and by the same number of clients.

mod process;
mod report;
mod rows;
mod stores;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::copy::Copy;
use crate::needs::Need;
use crate::{process as program, workspace};
use process::Running;
pub(super) use report::Report;
use stores::Stores;

/// Clients at once, everywhere.
const CONNECTIONS: usize = 64;
/// Of one measurement.
const SECONDS: u64 = 3;
const PACKAGES: [&str; 7] = [
    "birthday",
    "counter",
    "hits-api",
    "load",
    "picture",
    "picture-source",
    "upload",
];
/// As many as a loop can ask for: what is measured is the service, not its limit for each client.
const UPLOADS_PER_SECOND: &str = "100000";

/// The services and what they need, ended when this is dropped.
struct Services {
    bare: Running,
    /// In front of `bare`; none where there is no HAProxy.
    gateway: Option<Running>,
    picture: Running,
    upload: Running,
    counter: Running,
    birthday: Running,
    hits_api: Running,
    /// The backend of `picture`.
    _source: Running,
}

/// Measures all of it in so many rounds.
pub(super) fn measure(rounds: usize) -> Result<Report> {
    let needs = [Need::PostgreSql, Need::Redis].into_iter();
    let lacking: Vec<Need> = needs.filter(|need| !need.is_met()).collect();
    if !lacking.is_empty() {
        return Ok(Report::missing(&lacking));
    }
    let programs = build()?;
    let folder = Copy::keeps("services");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let stores = Stores::start(&programs)?;
    let services = Services::start(&programs, &stores, &folder)?;
    let mut rows = rows::all(&programs, &services, &stores, &folder)?;
    for round in 0..=rounds {
        eprintln!("services: round {round} of {rounds}");
        for row in &mut rows {
            let measured = row.measure()?;
            // The first round warms up.
            if round > 0 {
                row.measured.push(measured);
            }
        }
    }
    let report = Report::new(rounds, rows)?;
    let report = match services.gateway {
        Some(_) => report,
        None => report.without("the gateway", &[Need::HaProxy]),
    };
    drop(services);
    fs::remove_dir_all(&folder)?;
    Ok(report)
}

impl Services {
    fn start(programs: &Path, stores: &Stores, folder: &Path) -> Result<Self> {
        let images = format!("file://{}", folder.join("images").display());
        let source = Running::service(programs, "picture-source", &[])?;
        let bare = Running::bare(programs)?;
        let gateway = Need::HaProxy.is_met().then(|| Running::gateway(&bare));
        Ok(Self {
            gateway: gateway.transpose()?,
            bare,
            picture: Running::service(programs, "picture", &[("BACKEND_URL", &source.url)])?,
            upload: Running::service(
                programs,
                "upload",
                &[
                    ("STORE_URL", &images),
                    ("UPLOADS_PER_SECOND", UPLOADS_PER_SECOND),
                ],
            )?,
            counter: Running::service(programs, "counter", &[("REDIS_URL", &stores.redis)])?,
            birthday: Running::service(
                programs,
                "birthday",
                &[("DATABASE_URL", &stores.postgres)],
            )?,
            hits_api: Running::service(
                programs,
                "hits-api",
                &[
                    ("REDIS_URL", &stores.redis),
                    ("DATABASE_URL", &stores.postgres),
                ],
            )?,
            _source: source,
        })
    }
}

/// Builds the services as they are shipped, and returns the folder of their programs.
fn build() -> Result<PathBuf> {
    let mut build = Command::new(super::cargo());
    build.args(["build", "--locked", "--release"]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    program::run(build.current_dir(workspace::root()))?;
    Ok(workspace::target().join("release"))
}
