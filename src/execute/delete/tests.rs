//! Tests of what goes, what stays, in which order, and what blocks.

use serde_json::json;
use test_support::kubernetes::{Kubernetes, Script, namespace};

use super::*;
use crate::cluster::{LockOptions, acquire, discover_all};
use crate::event::Silent;

struct Fixture {
    kubernetes: Kubernetes,
    stack: StackName,
    namespace: Namespace,
}

impl Fixture {
    fn new() -> Self {
        let kubernetes = Kubernetes::new();
        let mut shop = namespace("shop");
        shop["metadata"]["labels"] = labels("shop");
        kubernetes.insert(&shop);
        Self {
            kubernetes,
            stack: "shop".parse().unwrap(),
            namespace: "shop".parse().unwrap(),
        }
    }

    fn insert(&self, version: &str, kind: &str, name: &str, labels: Value) {
        self.kubernetes.insert(&json!({
            "apiVersion": version, "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "labels": labels, "uid": format!("{kind}-{name}")},
        }));
    }

    /// A deployed stack with data, and things of others.
    fn deployed() -> Self {
        let fixture = Self::new();
        let mut web = labels("shop");
        web["app.kubernetes.io/name"] = json!("web");
        fixture.insert("apps/v1", "Deployment", "web", web.clone());
        fixture.insert("v1", "Service", "web", web);
        fixture.insert("v1", "ConfigMap", "db", labels("shop"));
        fixture.insert("apps/v1", "StatefulSet", "db", labels("shop"));
        fixture.insert("v1", "Secret", "shop-generated", labels("shop"));
        fixture.insert(
            "v1",
            "PersistentVolumeClaim",
            "data-db-0",
            json!({PART_OF: "shop"}),
        );
        fixture.insert(
            "v1",
            "ConfigMap",
            "helm",
            json!({PART_OF: "shop", MANAGED_BY: "Helm"}),
        );
        fixture.insert(
            "v1",
            "PersistentVolumeClaim",
            "helm",
            json!({PART_OF: "shop", MANAGED_BY: "Helm"}),
        );
        fixture.insert("v1", "ConfigMap", "mine", json!({}));
        fixture
    }

    async fn down(
        &self,
        data: bool,
        services: Option<&BTreeSet<ServiceName>>,
    ) -> Result<DeleteReport, DeleteError> {
        self.down_with(data, services, None, &CancellationToken::new())
            .await
    }

    async fn down_with(
        &self,
        data: bool,
        services: Option<&BTreeSet<ServiceName>>,
        lock: Option<Lock>,
        cancel: &CancellationToken,
    ) -> Result<DeleteReport, DeleteError> {
        let client = self.kubernetes.client();
        let kinds = discover_all(&client).await.unwrap();
        let objects = Objects::new(client, kinds);
        let request = DeleteRequest {
            stack: &self.stack,
            environment: &"local".parse().unwrap(),
            namespace: &self.namespace,
            services,
            data,
            deadline: Duration::from_secs(60),
        };
        down(&objects, &request, lock, &Silent, cancel).await
    }

    fn left(&self) -> Vec<String> {
        let inside = self.kubernetes.paths().into_iter();
        inside
            .filter_map(|path| path.split_once("/shop/").map(|(_, rest)| rest.to_owned()))
            .collect()
    }
}

fn labels(stack: &str) -> Value {
    json!({PART_OF: stack, MANAGED_BY: STACKCTL})
}

fn shown(objects: &[ObjectRef]) -> Vec<String> {
    objects.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn data_and_what_others_made_stays() {
    let fixture = Fixture::deployed();
    let report = fixture.down(false, None).await.unwrap();
    assert_eq!(
        shown(&report.deleted),
        [
            "Deployment/web",
            "StatefulSet/db",
            "ConfigMap/db",
            "Service/web"
        ],
        "workloads first"
    );
    let kept: Vec<(String, Kept)> = report
        .kept
        .iter()
        .map(|(object, why)| (object.to_string(), *why))
        .collect();
    assert_eq!(
        kept,
        [
            ("PersistentVolumeClaim/data-db-0".to_owned(), Kept::Data),
            ("Secret/shop-generated".to_owned(), Kept::Data),
        ]
    );
    assert_eq!(
        fixture.left(),
        [
            "configmaps/helm",
            "configmaps/mine",
            "persistentvolumeclaims/data-db-0",
            "persistentvolumeclaims/helm",
            "secrets/shop-generated",
        ]
    );
    let again = fixture.down(false, None).await.unwrap();
    assert_eq!(again.deleted, Vec::new(), "twice is no error");
}

#[tokio::test(start_paused = true)]
async fn with_data_the_namespace_goes_too_if_it_is_ours_alone() {
    let fixture = Fixture::deployed();
    let report = fixture.down(true, None).await.unwrap();
    assert_eq!(shown(&report.deleted).last().unwrap(), "Namespace/shop");
    assert_eq!(fixture.left(), Vec::<String>::new());

    let shared = Fixture::deployed();
    shared.insert("v1", "ConfigMap", "neighbour", labels("other"));
    let report = shared.down(true, None).await.unwrap();
    assert_eq!(report.kept.last().unwrap().1, Kept::Shared);
    assert!(shared.left().contains(&"configmaps/neighbour".to_owned()));

    let foreign = Fixture::deployed();
    foreign.kubernetes.insert(&namespace("shop"));
    let report = foreign.down(true, None).await.unwrap();
    assert_eq!(report.kept.last().unwrap().1, Kept::Foreign);
    assert!(foreign.left().contains(&"configmaps/mine".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_service_goes_alone() {
    let fixture = Fixture::deployed();
    let only = BTreeSet::from(["web".parse().unwrap()]);
    let report = fixture.down(true, Some(&only)).await.unwrap();
    assert_eq!(shown(&report.deleted), ["Deployment/web", "Service/web"]);
    assert_eq!(report.kept, Vec::new());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_is_named_with_what_holds_it() {
    let fixture = Fixture::new();
    let mut held = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "web", "namespace": "shop", "labels": labels("shop"), "finalizers": ["example.com/keep"]},
    });
    fixture.kubernetes.insert(&held);
    let error = fixture.down(false, None).await.unwrap_err();
    assert_eq!(error.exit(), Exit::TimedOut);
    assert_eq!(
        error.to_string(),
        "ConfigMap/web is still there at the deadline"
    );
    assert_eq!(
        error.diagnostics()[0].notes,
        ["ConfigMap/web: held by example.com/keep"]
    );

    held["metadata"]["finalizers"] = json!([]);
    fixture.kubernetes.insert(&held);
    fixture.down(false, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_the_last_to_go() {
    for data in [false, true] {
        let fixture = Fixture::deployed();
        let options = LockOptions {
            stack: fixture.stack.clone(),
            environment: "local".parse().unwrap(),
            namespace: fixture.namespace.clone(),
            duration: Duration::from_secs(60),
            renew_every: Duration::from_secs(15),
            wait: None,
        };
        let cancel = CancellationToken::new();
        let client = fixture.kubernetes.client();
        let lock = acquire(&client, options, &Silent, &cancel).await.unwrap();
        fixture
            .down_with(data, None, Some(lock), &cancel)
            .await
            .unwrap();
        let deletions: Vec<String> = fixture
            .kubernetes
            .writes()
            .into_iter()
            .filter(|write| write.starts_with("DELETE"))
            .collect();
        let lease = "DELETE /apis/coordination.k8s.io/v1/namespaces/shop/leases/stackctl-shop";
        let position = deletions.iter().position(|write| write == lease).unwrap();
        let after: Vec<&str> = deletions[position + 1..]
            .iter()
            .map(String::as_str)
            .collect();
        let expected: &[&str] = if data {
            &["DELETE /api/v1/namespaces/shop"]
        } else {
            &[]
        };
        assert_eq!(after, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interruption_says_what_is_gone() {
    let fixture = Fixture::deployed();
    let slow = Script::Delay(Duration::from_secs(30));
    fixture
        .kubernetes
        .script("DELETE", "/api/v1/namespaces/shop/services/web", slow);
    let cancel = CancellationToken::new();
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            cancel.cancel();
        }
    });
    let error = fixture
        .down_with(false, None, None, &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Interrupted);
    assert_eq!(
        error.to_string(),
        "interrupted; 2 objects were deleted before"
    );
}
