//! Keeps the list of a service's ready pods current.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;

use super::pods::{ReadyPod, ready};

/// Watches the pods that `selector` matches until all receivers are gone. A watch that fails is
/// started again with backoff; the last list stays valid meanwhile.
pub(super) async fn watch_pods(
    api: Api<Pod>,
    selector: String,
    pods: watch::Sender<Vec<ReadyPod>>,
) {
    let events = watcher(api, watcher::Config::default().labels(&selector)).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut known = Known::default();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = pods.closed() => return,
        };
        match event {
            Some(Ok(event)) => {
                if let Some(list) = known.apply(event) {
                    pods.send_if_modified(|current| {
                        let modified = *current != list;
                        *current = list;
                        modified
                    });
                }
            }
            Some(Err(error)) => tracing::debug!(%error, selector, "the watch of pods failed"),
            None => return,
        }
    }
}

/// The ready pods by name, and those of a list that is not complete yet.
#[derive(Default)]
struct Known {
    ready: BTreeMap<String, ReadyPod>,
    listing: Option<BTreeMap<String, ReadyPod>>,
}

impl Known {
    /// Takes an event in; the list of ready pods where it is complete.
    fn apply(&mut self, event: watcher::Event<Pod>) -> Option<Vec<ReadyPod>> {
        match event {
            watcher::Event::Init => {
                self.listing = Some(BTreeMap::new());
                return None;
            }
            watcher::Event::InitApply(pod) => {
                if let (Some(listing), Some(pod)) = (&mut self.listing, ready(&pod)) {
                    listing.insert(pod.name.clone(), pod);
                }
                return None;
            }
            watcher::Event::InitDone => self.ready = self.listing.take().unwrap_or_default(),
            watcher::Event::Apply(pod) => match ready(&pod) {
                Some(pod) => {
                    self.ready.insert(pod.name.clone(), pod);
                }
                None => self.forget(&pod),
            },
            watcher::Event::Delete(pod) => self.forget(&pod),
        }
        Some(self.ready.values().cloned().collect())
    }

    fn forget(&mut self, pod: &Pod) {
        if let Some(name) = &pod.metadata.name {
            self.ready.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": name },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    fn names(list: Option<Vec<ReadyPod>>) -> Option<Vec<String>> {
        list.map(|pods| pods.into_iter().map(|pod| pod.name).collect())
    }

    #[test]
    fn a_relist_replaces_the_list_at_once() {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let mut known = Known::default();
        assert_eq!(names(known.apply(Init)), None);
        assert_eq!(names(known.apply(InitApply(pod("a", "True")))), None);
        assert_eq!(names(known.apply(InitDone)), Some(vec!["a".into()]));
        assert_eq!(
            names(known.apply(Apply(pod("b", "True")))),
            Some(vec!["a".into(), "b".into()])
        );
        assert_eq!(
            names(known.apply(Apply(pod("a", "False")))),
            Some(vec!["b".into()])
        );
        assert_eq!(names(known.apply(Delete(pod("b", "True")))), Some(vec![]));

        known.apply(Init);
        known.apply(InitApply(pod("c", "True")));
        assert_eq!(names(known.apply(InitDone)), Some(vec!["c".into()]));
    }
}
