//! What the watchers have seen, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::kind::{KINDS, Kind};
use crate::diagnosis::Observed;

type Objects = BTreeMap<String, Arc<Value>>;

/// The objects by kind and name, and how each watcher is doing.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<&'static str, Objects>,
    /// Lists that are still coming in.
    incoming: BTreeMap<&'static str, Objects>,
    complete: BTreeSet<&'static str>,
    refused: BTreeMap<&'static str, Arc<watcher::Error>>,
    failing: BTreeMap<&'static str, Failure>,
    pod_gone: Option<Timestamp>,
}

/// A watcher that gets only errors.
#[derive(Clone, Debug)]
pub(in crate::execute) struct Failure {
    pub(super) since: Instant,
    pub(super) last: Arc<watcher::Error>,
}

impl Store {
    /// Takes an event in; whether the snapshot changed. A list replaces all objects of its kind at once.
    pub(super) fn apply(
        &mut self,
        kind: &'static Kind,
        event: Event<DynamicObject>,
        now: Timestamp,
    ) -> bool {
        match event {
            Event::Init => {
                self.incoming.insert(kind.kind, Objects::new());
                false
            }
            Event::InitApply(object) => {
                insert(self.incoming.entry(kind.kind).or_default(), kind, object);
                false
            }
            Event::InitDone => {
                let listed = self.incoming.remove(kind.kind).unwrap_or_default();
                let before = self.objects.insert(kind.kind, listed).unwrap_or_default();
                self.complete.insert(kind.kind);
                self.failing.remove(kind.kind);
                let now_there = &self.objects[kind.kind];
                let gone = before.keys().any(|name| !now_there.contains_key(name));
                self.note_gone(kind, gone, now);
                true
            }
            Event::Apply(object) => {
                insert(self.objects.entry(kind.kind).or_default(), kind, object);
                true
            }
            Event::Delete(object) => {
                let name = object.metadata.name.unwrap_or_default();
                let gone = self
                    .objects
                    .get_mut(kind.kind)
                    .and_then(|objects| objects.remove(&name));
                self.note_gone(kind, gone.is_some(), now);
                true
            }
        }
    }

    /// Notes that a watcher failed and will try again.
    pub(super) fn failed(&mut self, kind: &'static Kind, error: watcher::Error) {
        let last = Arc::new(error);
        self.failing
            .entry(kind.kind)
            .and_modify(|failure| failure.last = Arc::clone(&last))
            .or_insert_with(|| Failure {
                since: Instant::now(),
                last,
            });
    }

    /// Notes that a watcher was refused and will not try again.
    pub(super) fn refuse(&mut self, kind: &'static Kind, error: watcher::Error) {
        self.failing.remove(kind.kind);
        self.refused.insert(kind.kind, Arc::new(error));
    }

    /// Whether every kind has been listed, as far as it may be.
    pub(super) fn is_complete(&self) -> bool {
        KINDS
            .iter()
            .all(|kind| self.complete.contains(kind.kind) || self.refused.contains_key(kind.kind))
    }

    /// What was said when a kind was refused.
    pub(super) fn refusal(&self, kind: &str) -> Option<&Arc<watcher::Error>> {
        self.refused.get(kind)
    }

    /// The watcher that has been failing for longest.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failing
            .values()
            .min_by_key(|failure| failure.since)
            .cloned()
    }

    pub(super) fn observed(&self, now: Timestamp) -> Observed {
        let of = |events: bool| {
            self.objects
                .iter()
                .filter(move |(kind, _)| (**kind == "Event") == events)
                .flat_map(|(_, objects)| objects.values().cloned())
                .collect()
        };
        Observed {
            objects: of(false),
            events: of(true),
            pod_gone: self.pod_gone,
            now,
        }
    }

    fn note_gone(&mut self, kind: &Kind, gone: bool, now: Timestamp) {
        if gone && kind.kind == "Pod" {
            self.pod_gone = Some(now);
        }
    }
}

fn insert(objects: &mut Objects, kind: &Kind, object: DynamicObject) {
    if let Some((name, value)) = value(kind, object) {
        objects.insert(name, value);
    }
}

/// The object with its name. Objects in lists have no kind; managed fields are half of an object and tell
/// nothing here.
pub(super) fn value(kind: &Kind, mut object: DynamicObject) -> Option<(String, Arc<Value>)> {
    object.metadata.managed_fields = None;
    let name = object.metadata.name.clone()?;
    let mut value = serde_json::to_value(object).ok()?;
    value["apiVersion"] = json!(kind.resource().api_version);
    value["kind"] = json!(kind.kind);
    Some((name, Arc::new(value)))
}
