//! `stackctl logs`: what the services write, until all is told or Ctrl-C.

use crate::event::Event;
use crate::logs::{self, LogEvent, LogItem, LogLine, LogQuery, Source};
use crate::settings::{LogSettings, Place};

use super::connect::connect;
use super::{CommandError, Env, Outcome};

/// Shows the lines of the chosen services.
pub async fn logs(
    place: &Place,
    settings: &LogSettings,
    env: &Env,
) -> Result<Outcome, CommandError> {
    let stack = place.load()?;
    let cluster = connect(&stack, place, env).await?;
    let query = LogQuery {
        namespace: stack.environment.namespace.clone(),
        stack: stack.name.clone(),
        services: place.services.clone(),
        container: None,
        follow: settings.follow,
        tail: Some(settings.tail),
        since: settings.since,
        previous: settings.previous,
    };
    let mut stream = logs::open(cluster.client.clone(), query).await?;
    loop {
        let item = tokio::select! {
            item = stream.next() => item,
            () = env.cancel.cancelled() => None,
        };
        match item {
            Some(item) => env.events.emit(event(item)),
            None => return Ok(Outcome::Ended),
        }
    }
}

fn event(item: LogItem) -> Event {
    match item {
        LogItem::Line(LogLine {
            source:
                Source {
                    service,
                    pod,
                    container,
                },
            time,
            text,
        }) => Event::Log {
            service: service.to_string(),
            pod,
            container,
            time: time.to_string(),
            text,
        },
        LogItem::Event(LogEvent::Attached(source)) => Event::Note(format!("+ {}", name(&source))),
        LogItem::Event(LogEvent::Detached(source, None)) => {
            Event::Note(format!("- {}", name(&source)))
        }
        LogItem::Event(LogEvent::Detached(source, Some(code))) => {
            Event::Note(format!("- {} (exit code {code})", name(&source)))
        }
        LogItem::Event(LogEvent::Unavailable(source, reason)) => {
            Event::Note(format!("{}: {reason}", name(&source)))
        }
    }
}

fn name(source: &Source) -> String {
    format!("{} › {}", source.pod, source.container)
}
