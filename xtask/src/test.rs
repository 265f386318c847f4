//! `cargo xtask test`: everything that this machine can run, step by step, and
//! a loud count of what it cannot.

mod container;
mod images;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::needs::{self, Need};
use crate::{process, workspace};

/// What was asked for on the command line.
pub(crate) struct Options {
    /// Install what is missing.
    install: bool,
    /// Run the steps whose names contain one of these; all where empty.
    filters: Vec<String>,
}

impl Options {
    /// `None` where a flag is unknown or no step fits a filter.
    pub(crate) fn parse(args: &[&str]) -> Option<Self> {
        let (flags, filters): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|arg| arg.starts_with('-'));
        let fits = |filter: &&str| STEPS.iter().any(|step| step.name.contains(filter));
        if flags.iter().any(|flag| *flag != "--install") || !filters.iter().all(fits) {
            return None;
        }
        Some(Self {
            install: !flags.is_empty(),
            filters: filters.into_iter().map(String::from).collect(),
        })
    }

    fn select(&self, step: &Step) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| step.name.contains(filter))
    }
}

struct Step {
    name: &'static str,
    about: &'static str,
    /// Without these it is skipped.
    needs: &'static [Need],
    /// Without these a part of it is skipped; the part's name is the first.
    part: Option<(&'static str, &'static [Need])>,
    /// The argument tells whether the part is to be left out.
    run: fn(bool) -> Result<()>,
}

const STEPS: [Step; 6] = [
    Step {
        name: "workspace",
        about: "every crate: unit tests, the command line, the services with their stores and proxies",
        needs: &[],
        part: Some((
            "stores and proxies",
            &[
                Need::PostgreSql,
                Need::Redis,
                Need::HaProxy,
                Need::Prometheus,
            ],
        )),
        run: workspace_tests,
    },
    Step {
        name: "registry",
        about: "the client and deliveries against a real registry",
        needs: &[Need::Registry],
        part: Some(("registry and engine", &[Need::Docker])),
        run: registry_tests,
    },
    Step {
        name: "engine",
        about: "deliveries to a real engine, and to nodes with a containerd of their own",
        needs: &[Need::Docker],
        part: Some(("nodes", &[Need::Containerd])),
        run: engine_tests,
    },
    Step {
        name: "debian",
        about: "packages from Debian's own archive, resolved, verified and unpacked",
        needs: &[Need::DebianArchive],
        part: None,
        run: debian_tests,
    },
    Step {
        name: "images",
        about: "images of Debian packages, as a pod runs them",
        needs: &[Need::Docker],
        part: None,
        run: images::run,
    },
    Step {
        name: "cluster",
        about: "the whole tool against $KUBECONFIG",
        needs: &[Need::Docker, Need::Cluster, Need::Kubectl],
        part: Some((
            "registry and tools",
            &[
                Need::Registry,
                Need::Skopeo,
                Need::Umoci,
                Need::Podman,
                Need::OpenSsl,
            ],
        )),
        run: cluster_tests,
    },
];

enum Outcome {
    Passed,
    Failed(String),
    Skipped(Vec<Need>),
}

struct Report {
    rows: Vec<(&'static str, Outcome, Duration)>,
}

/// Runs the selected steps; returns whether none failed. The last line is
/// `N passed, N failed, N skipped`, counted in steps.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| options.select(step)).collect();
    if options.install {
        needs::install(&missing(steps.iter().flat_map(|step| wanted(step))))?;
    }
    let mut report = Report { rows: Vec::new() };
    for step in steps {
        run_step(step, &mut report);
    }
    report.print();
    Ok(report.count(|outcome| matches!(outcome, Outcome::Failed(_))) == 0)
}

fn run_step(step: &Step, report: &mut Report) {
    println!("\n=== {}: {}", step.name, step.about);
    let lacking = missing(step.needs.iter().copied());
    if !lacking.is_empty() {
        report.add(step.name, Outcome::Skipped(lacking), Duration::ZERO);
        return;
    }
    let part = step
        .part
        .map(|(name, needs)| (name, missing(needs.iter().copied())));
    let part = part.filter(|(_, lacking)| !lacking.is_empty());
    let start = Instant::now();
    let outcome = match (step.run)(part.is_some()) {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    report.add(step.name, outcome, start.elapsed());
    if let Some((name, lacking)) = part {
        report.add(name, Outcome::Skipped(lacking), Duration::ZERO);
    }
}

impl Report {
    /// Keeps an outcome and says it at once; the end of the run repeats it.
    fn add(&mut self, name: &'static str, outcome: Outcome, took: Duration) {
        self.rows.push((name, outcome, took));
        if let Some(row) = self.rows.last() {
            println!("{}", line(row));
        }
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| is(&row.1)).count()
    }

    fn print(&self) {
        println!("\n=== summary");
        for row in &self.rows {
            println!("{}", line(row));
            if let Outcome::Skipped(lacking) = &row.1 {
                for need in lacking {
                    println!("           {}: {}", need.name(), need.remedy());
                }
            }
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.count(|outcome| matches!(outcome, Outcome::Passed)),
            self.count(|outcome| matches!(outcome, Outcome::Failed(_))),
            self.count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        );
    }
}

fn line((name, outcome, took): &(&str, Outcome, Duration)) -> String {
    match outcome {
        Outcome::Passed => format!("   PASSED  {name} in {:.1} s", took.as_secs_f64()),
        Outcome::Failed(error) => format!("   FAILED  {name}: {error}"),
        Outcome::Skipped(lacking) => {
            let names: Vec<&str> = lacking.iter().map(Need::name).collect();
            format!("  SKIPPED  {name}: not here: {}", names.join(", "))
        }
    }
}

/// Everything that a step and its part need.
fn wanted(step: &Step) -> impl Iterator<Item = Need> {
    let part = step.part.map_or(&[][..], |(_, needs)| needs);
    step.needs.iter().chain(part).copied()
}

fn missing(needs: impl Iterator<Item = Need>) -> Vec<Need> {
    let mut lacking: Vec<Need> = needs.filter(|need| !need.is_met()).collect();
    lacking.sort_unstable();
    lacking.dedup();
    lacking
}

/// One call for all crates, so that their dependencies are built with one set of features.
fn workspace_tests(without_servers: bool) -> Result<()> {
    let mut cargo = cargo(&["test", "--workspace", "--no-fail-fast"]);
    if without_servers {
        cargo.env("STACKCTL_SKIP_SERVERS", "1");
    } else {
        cargo.env_remove("STACKCTL_SKIP_SERVERS");
    }
    process::run(&mut cargo)
}

fn registry_tests(without_engine: bool) -> Result<()> {
    let client = ["test", "--workspace", "--test", "registry"];
    process::run(cargo(&client).args(["--", "--ignored"]))?;
    match without_engine {
        true => Ok(()),
        false => deliveries("real_registries"),
    }
}

fn engine_tests(without_containerd: bool) -> Result<()> {
    deliveries("real_engines")?;
    match without_containerd {
        true => Ok(()),
        false => deliveries("real_nodes"),
    }
}

/// Tests of the library that need more than the machine has by itself.
fn deliveries(name: &str) -> Result<()> {
    process::run(cargo(&["test", "--workspace", "--lib", name]).args(["--", "--ignored"]))
}

fn debian_tests(_: bool) -> Result<()> {
    let tests = ["test", "--workspace", "--test", "debian"];
    process::run(cargo(&tests).args(["--", "--ignored", "--nocapture"]))
}

fn cluster_tests(without_tools: bool) -> Result<()> {
    let mut cargo = cargo(&[
        "test",
        "--workspace",
        "--test",
        "cluster",
        "--",
        "--include-ignored",
    ]);
    if without_tools {
        let tests = [
            "accepted::",
            "attest::",
            "builders::a_registry_is_used",
            "cut::",
            "killed::",
            "together::",
        ];
        cargo.args(tests.iter().flat_map(|name| ["--skip", name]));
    }
    process::run(&mut cargo)
}

fn cargo(args: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args).current_dir(workspace::root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(args: &[&str]) -> Option<Vec<&'static str>> {
        let options = Options::parse(args)?;
        let steps = STEPS.iter().filter(|step| options.select(step));
        Some(steps.map(|step| step.name).collect())
    }

    #[test]
    fn filters_select_steps_and_must_fit_one() {
        let all = [
            "workspace",
            "registry",
            "engine",
            "debian",
            "images",
            "cluster",
        ];
        assert_eq!(names(&[]), Some(all.to_vec()));
        assert_eq!(
            names(&["--install", "clus", "images"]),
            Some(vec!["images", "cluster"])
        );
        assert_eq!(names(&["imagez"]), None);
        assert_eq!(names(&["--instal"]), None);
    }

    #[test]
    fn a_skipped_step_says_what_is_not_here() {
        let row = (
            "cluster",
            Outcome::Skipped(vec![Need::Docker, Need::Cluster]),
            Duration::ZERO,
        );
        assert_eq!(
            line(&row),
            "  SKIPPED  cluster: not here: a Docker engine, a cluster"
        );
    }
}
