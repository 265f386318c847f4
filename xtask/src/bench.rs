//! `cargo xtask bench`: how long the commands take that people wait for, against
//! limits of our own and beside other programs in the same run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{process, workspace};

/// What was asked for on the command line.
pub(crate) struct Options {
    /// One JSON document on stdout instead of the table.
    json: bool,
    /// Measured runs of each program.
    runs: usize,
}

impl Options {
    /// `None` where a flag is unknown or a number is none.
    pub(crate) fn parse(args: &[&str]) -> Option<Self> {
        let mut options = Self {
            json: false,
            runs: 30,
        };
        for arg in args {
            match arg.split_once('=') {
                Some(("--runs", runs)) => {
                    options.runs = runs.parse().ok().filter(|runs| *runs > 0)?
                }
                None if *arg == "--json" => options.json = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

/// A command of `stackctl`, run in the root of the repository.
struct Bench {
    name: &'static str,
    args: &'static [&'static str],
    limit: Duration,
}

const BENCHES: [Bench; 2] = [
    Bench {
        name: "stackctl --version",
        args: &["--version"],
        limit: Duration::from_millis(10),
    },
    Bench {
        name: "stackctl render local",
        args: &["render", "local"],
        limit: Duration::from_millis(100),
    },
];

/// Other programs, run in turn with ours: their times tell how busy the machine
/// is. The first is the floor: what starting any process costs.
const PEERS: [(&str, &[&str]); 2] = [("true", &[]), ("kubectl", &["version", "--client"])];

/// The times of one program, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    fn min(&self) -> Duration {
        self.0[0]
    }

    fn max(&self) -> Duration {
        self.0[self.0.len() - 1]
    }
}

/// A program, how often it is measured, what came out.
struct Subject {
    name: String,
    program: PathBuf,
    args: &'static [&'static str],
    limit: Option<Duration>,
}

/// Measures, prints, and fails where a median is over its limit.
pub(crate) fn run(options: &Options) -> Result<()> {
    let subjects = subjects(&build()?);
    let times = measure(&subjects, options.runs)?;
    let rows: Vec<(&Subject, &Times)> = subjects.iter().zip(&times).collect();
    if options.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report(&rows, options.runs))?
        );
    } else {
        print_table(&rows, options.runs);
    }
    let over = rows
        .iter()
        .filter(|(subject, times)| is_over(subject, times))
        .count();
    ensure!(
        over == 0,
        "{over} of {} benches are over their limit",
        BENCHES.len()
    );
    Ok(())
}

/// Builds the release program and returns its path.
fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--release",
            "--package",
            "stackctl",
            "--bin",
            "stackctl",
        ])
        .current_dir(workspace::root());
    process::run(&mut build)?;
    let program = workspace::target().join("release/stackctl");
    ensure!(program.is_file(), "cargo built no {}", program.display());
    Ok(program)
}

fn subjects(stackctl: &Path) -> Vec<Subject> {
    let ours = BENCHES.iter().map(|bench| Subject {
        name: bench.name.to_owned(),
        program: stackctl.to_path_buf(),
        args: bench.args,
        limit: Some(bench.limit),
    });
    let peers = PEERS.iter().filter(|(program, _)| process::exists(program));
    let peers = peers.map(|(program, args)| Subject {
        name: [&[*program], *args].concat().join(" "),
        program: PathBuf::from(program),
        args,
        limit: None,
    });
    ours.chain(peers).collect()
}

/// Runs all subjects in turn, so that a busy moment hits all of them alike.
fn measure(subjects: &[Subject], runs: usize) -> Result<Vec<Times>> {
    let mut times: Vec<Vec<Duration>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..=runs {
        for (subject, times) in subjects.iter().zip(&mut times) {
            let took = once(subject)?;
            // The first round warms the caches.
            if round > 0 {
                times.push(took);
            }
        }
    }
    let sort = |mut times: Vec<Duration>| {
        times.sort_unstable();
        Times(times)
    };
    Ok(times.into_iter().map(sort).collect())
}

fn once(subject: &Subject) -> Result<Duration> {
    let mut command = Command::new(&subject.program);
    command
        .args(subject.args)
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let output = command
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("cannot run `{}`", subject.name))?;
    let took = start.elapsed();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            subject.name,
            output.status,
            stderr.trim()
        );
    }
    Ok(took)
}

fn is_over(subject: &Subject, times: &Times) -> bool {
    subject.limit.is_some_and(|limit| times.median() > limit)
}

fn print_table(rows: &[(&Subject, &Times)], runs: usize) {
    let floor = floor(rows);
    println!("{runs} runs each, in milliseconds");
    println!(
        "{:<28} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "", "median", "min", "max", "limit", "× `true`"
    );
    for (subject, times) in rows {
        let limit = subject
            .limit
            .map_or_else(String::new, |limit| format!("{:.0}", ms(limit)));
        println!(
            "{:<28} {:>8.2} {:>8.2} {:>8.2} {limit:>8} {:>9.1}{}",
            subject.name,
            ms(times.median()),
            ms(times.min()),
            ms(times.max()),
            times.median().as_secs_f64() / floor,
            if is_over(subject, times) {
                "  OVER"
            } else {
                ""
            },
        );
    }
}

/// The shape of `--json`; `version` grows when a key changes its meaning.
fn report(rows: &[(&Subject, &Times)], runs: usize) -> Value {
    let floor = floor(rows);
    let entry = |(subject, times): &(&Subject, &Times)| {
        json!({
            "name": subject.name,
            "median_ms": ms(times.median()),
            "min_ms": ms(times.min()),
            "max_ms": ms(times.max()),
            "limit_ms": subject.limit.map(ms),
            "within_limit": subject.limit.map(|_| !is_over(subject, times)),
            "times_floor": times.median().as_secs_f64() / floor,
        })
    };
    let (benches, peers): (Vec<_>, Vec<_>) = rows
        .iter()
        .partition(|(subject, _)| subject.limit.is_some());
    json!({
        "version": 1,
        "runs": runs,
        "benches": benches.into_iter().map(entry).collect::<Vec<_>>(),
        "peers": peers.into_iter().map(entry).collect::<Vec<_>>(),
    })
}

/// The median of the first peer, in seconds.
fn floor(rows: &[(&Subject, &Times)]) -> f64 {
    let peer = rows.iter().find(|(subject, _)| subject.limit.is_none());
    peer.map_or(f64::NAN, |(_, times)| times.median().as_secs_f64())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str, limit: Option<u64>) -> Subject {
        Subject {
            name: name.to_owned(),
            program: PathBuf::from(name),
            args: &[],
            limit: limit.map(Duration::from_millis),
        }
    }

    fn times(millis: &[u64]) -> Times {
        Times(millis.iter().copied().map(Duration::from_millis).collect())
    }

    #[test]
    fn the_report_has_medians_limits_and_ratios() {
        let (ours, peer) = (subject("ours", Some(10)), subject("true", None));
        let (slow, floor) = (times(&[8, 12, 30]), times(&[1, 2, 3]));
        let report = report(&[(&ours, &slow), (&peer, &floor)], 3);
        assert_eq!(report["version"], 1);
        let bench = &report["benches"][0];
        assert_eq!(bench["median_ms"], 12.0);
        assert_eq!(bench["within_limit"], false);
        assert_eq!(bench["times_floor"], 6.0);
        assert_eq!(report["peers"][0]["limit_ms"], Value::Null);
    }

    #[test]
    fn a_failing_program_is_not_measured() {
        let failing = Subject {
            program: PathBuf::from("false"),
            ..subject("false", Some(10))
        };
        assert!(measure(&[failing], 1).is_err());
    }

    #[test]
    fn options_are_checked() {
        let runs = |args: &[&str]| Options::parse(args).map(|options| options.runs);
        assert_eq!(runs(&["--json", "--runs=5"]), Some(5));
        assert_eq!(runs(&[]), Some(30));
        assert_eq!(runs(&["--runs=0"]), None);
        assert_eq!(runs(&["--fast"]), None);
    }
}
