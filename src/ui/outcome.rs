//! [`Outcome`] → text for people: data for stdout, a last line for stderr.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::commands::status::Status;
use crate::commands::{Outcome, RolledOut};
use crate::diagnosis::{ServiceState, ServiceStatus};
use crate::execute::delete::{DeleteReport, Kept};
use crate::image::{BuildOutcome, BuildReport, BuiltImage, ChangeKind, Reason};
use crate::plan::{Plan, Row};
use crate::stack::ServiceName;

use super::duration;
use super::table::columns;

/// What is said of an outcome.
pub(super) struct Said {
    /// For stdout.
    pub(super) data: String,
    /// For stderr: a verb and what follows it.
    pub(super) last: Option<(&'static str, String)>,
}

/// The outcome as people read it.
pub(super) fn text(outcome: &Outcome) -> Said {
    let data = |data: String| Said { data, last: None };
    let last = |verb, text: String| Said {
        data: String::new(),
        last: Some((verb, text)),
    };
    match outcome {
        Outcome::Initialised(written) => last(
            "Created",
            format!(
                "the stack {} in {}; next: run `stackctl up` there",
                written.name,
                written.directory.display(),
            ),
        ),
        Outcome::Rendered(manifests) => data(manifests.clone()),
        Outcome::Written(files) => last("Written", counted(files.len(), "file")),
        Outcome::Validated(found) => last(
            "Valid",
            [
                counted(found.services, "service"),
                counted(found.objects, "object"),
                counted(found.checks, "check"),
            ]
            .join(", "),
        ),
        Outcome::Built(built) if built.explain => data(reasons(&built.report)),
        Outcome::Built(_) | Outcome::Ended | Outcome::Smoked(_) => data(String::new()),
        Outcome::Planned(plan) => data(changes(plan)),
        Outcome::Deployed(rolled_out) => last("Finished", finished(rolled_out)),
        Outcome::Up(up) => last("Finished", format!("in {}", duration::show(up.elapsed))),
        Outcome::Status(status) => data(services(status, Timestamp::now())),
        Outcome::Deleted(report) => last("Finished", deleted(report)),
    }
}

/// A line for each image, and under it the inputs that changed.
fn reasons(report: &BuildReport) -> String {
    let rows: Vec<Vec<String>> = report
        .images
        .iter()
        .map(|(service, image)| vec![service.to_string(), reason(image).to_owned()])
        .collect();
    let mut text = String::new();
    for (line, image) in columns(&rows).iter().zip(report.images.values()) {
        text += &format!("{line}\n");
        if let Some(Reason::Changed(changes)) = &image.reason {
            for change in changes {
                text += &format!("  {} {}\n", change.input, verb(change.change));
            }
        }
    }
    text
}

fn reason(image: &BuiltImage) -> &'static str {
    match (&image.reason, image.outcome) {
        (Some(Reason::First), _) => "built: for the first time here",
        (Some(Reason::Changed(_)), _) => "built: its inputs changed",
        (Some(Reason::Gone), _) => "built: its inputs are the same, but the image was gone",
        (None, BuildOutcome::External) => "from a registry, as it is",
        (None, BuildOutcome::Cached | BuildOutcome::Built) => "cached",
    }
}

fn verb(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Changed => "changed",
    }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn finished(rolled_out: &RolledOut) -> String {
    let elapsed = rolled_out
        .report
        .as_ref()
        .map(|report| report.elapsed)
        .unwrap_or_default();
    format!("in {}", duration::show(elapsed))
}

/// The change table: a row for each object, or for each of its fields, then the count.
fn changes(plan: &Plan) -> String {
    let row = |row: Row| {
        vec![
            format!("{} {}", row.sign, row.object),
            row.field,
            row.values,
            row.place,
        ]
    };
    let rows: Vec<Vec<String>> = plan.rows().into_iter().map(row).collect();
    let mut lines: Vec<String> = columns(&rows).iter().map(|line| colored(line)).collect();
    lines.push(plan.summary());
    lines.join("\n") + "\n"
}

fn colored(line: &str) -> String {
    let color = match line.chars().next() {
        Some('+') => AnsiColor::Green,
        Some('-') => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    let style = color.on_default();
    format!("{style}{}{style:#}{}", &line[..1], &line[1..])
}

fn services(status: &Status, now: Timestamp) -> String {
    let mut rows = vec![
        ["SERVICE", "READY", "RESTARTS", "AGE", "IMAGE", "STATE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(
        status
            .services
            .iter()
            .map(|service| service_row(service, now)),
    );
    rows.extend(status.absent.iter().map(absent_row));
    rows.extend(status.leftover.iter().map(|leftover| {
        let mut row = service_row(leftover, now);
        if let Some(state) = row.last_mut() {
            state.push_str(", no longer in the stack");
        }
        row
    }));
    let header = Style::new().bold();
    let mut lines = columns(&rows);
    if let Some(first) = lines.first_mut() {
        *first = format!("{header}{first}{header:#}");
    }
    lines.join("\n") + "\n"
}

fn service_row(service: &ServiceStatus, now: Timestamp) -> Vec<String> {
    let state = match &service.state {
        ServiceState::Ready => "ready".to_owned(),
        ServiceState::Waiting(reason) => format!("waiting: {reason}"),
        ServiceState::Broken(cause) => format!("{}: {}", cause.kind.code(), cause.message()),
    };
    vec![
        service.service.to_string(),
        format!("{}/{}", service.ready, service.desired),
        service.restarts.to_string(),
        service
            .started
            .map(|started| age(started, now))
            .unwrap_or_default(),
        service.image.clone().unwrap_or_default(),
        state,
    ]
}

fn absent_row(service: &ServiceName) -> Vec<String> {
    [service.as_str(), "-", "-", "-", "-", "not deployed"]
        .map(str::to_owned)
        .to_vec()
}

/// `12s`, `5m`, `3h`, `2d`, as kubectl has it.
fn age(started: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(started).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn deleted(report: &DeleteReport) -> String {
    let kept: Vec<String> = report
        .kept
        .iter()
        .map(|(object, why)| match why {
            Kept::Data => format!("{object} (data)"),
            Kept::Foreign => format!("{object} (not made by stackctl)"),
            Kept::Shared => format!("{object} (others use it)"),
        })
        .collect();
    let elapsed: Duration = report.elapsed;
    let deleted = format!(
        "{} deleted in {}",
        report.deleted.len(),
        duration::show(elapsed)
    );
    if kept.is_empty() {
        deleted
    } else {
        format!("{deleted}; kept {}", kept.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let start = Timestamp::UNIX_EPOCH;
        for (seconds, text) in [(5, "5s"), (130, "2m"), (7_300, "2h"), (200_000, "2d")] {
            assert_eq!(age(start, Timestamp::from_second(seconds).unwrap()), text);
        }
    }
}
