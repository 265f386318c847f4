//! Objects of any kind: read, list, server-side apply, delete. As JSON, so that nothing is lost that a
//! typed client does not know.

use std::sync::Arc;

use k8s_model::ObjectRef;
use kube::Client;
use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use kube::core::Request;
use serde_json::Value;

use super::discovery::{Kinds, Resource};
use super::error::{ObjectError, Reason, Verb};
use super::retry::{CallError, idempotent};
use super::status::Operation;

/// Who owns the fields that are applied.
pub const FIELD_MANAGER: &str = "stackctl";
/// How many objects a page of a list holds.
const PAGE: u32 = 500;

/// A cluster's objects; cheap to clone.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    kinds: Arc<Kinds>,
}

/// How to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Only answer what would come out.
    pub dry_run: bool,
    /// Take fields over from other managers.
    pub force: bool,
}

/// How a deletion went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The server will delete it, perhaps after finalizers.
    Accepted,
    /// There was none.
    Absent,
}

impl Objects {
    /// Objects of the kinds that were discovered.
    #[must_use]
    pub fn new(client: Client, kinds: Kinds) -> Self {
        Self {
            client,
            kinds: Arc::new(kinds),
        }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the cluster serves.
    #[must_use]
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The live object; none where there is none, or no such namespace.
    pub async fn get(&self, reference: &ObjectRef) -> Result<Option<Value>, ObjectError> {
        let operation = Operation {
            verb: Verb::Read,
            target: reference,
            sent: None,
        };
        let request = self.request(&operation)?;
        let outcome = self
            .send(|| request.get(&reference.name, &GetParams::default()))
            .await;
        match outcome {
            Ok(object) => Ok(Some(object)),
            Err(error) => absent(operation.failed(error), None),
        }
    }

    /// All objects of a kind that a label selector matches, in one namespace or (none) everywhere.
    /// Each has its `apiVersion` and `kind`, which lists leave out.
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        selector: &str,
    ) -> Result<Vec<Value>, ObjectError> {
        let target = ObjectRef {
            gvk: resource.gvk.clone(),
            namespace: namespace.map(str::to_owned),
            name: String::new(),
        };
        let operation = Operation {
            verb: Verb::List,
            target: &target,
            sent: None,
        };
        let request = Request::new(resource.path(namespace));
        let mut parameters = ListParams::default().labels(selector).limit(PAGE);
        let mut found = Vec::new();
        loop {
            let mut page = self
                .send(|| request.list(&parameters))
                .await
                .map_err(|error| operation.failed(error))?;
            if let Value::Array(items) = page["items"].take() {
                found.extend(items.into_iter().map(|item| typed(item, resource)));
            }
            match page["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => {
                    parameters = parameters.continue_token(token);
                }
                _ => return Ok(found),
            }
        }
    }

    /// Server-side apply; the answer is the object as it is (or would be) afterwards.
    pub async fn apply(&self, object: &Value, options: ApplyOptions) -> Result<Value, ObjectError> {
        let target = ObjectRef::of(object).expect("objects have apiVersion, kind and a name");
        let operation = Operation {
            verb: if options.dry_run {
                Verb::DryRun
            } else {
                Verb::Apply
            },
            target: &target,
            sent: Some(object),
        };
        let request = self.request(&operation)?;
        let parameters = PatchParams {
            dry_run: options.dry_run,
            force: options.force,
            ..PatchParams::apply(FIELD_MANAGER).validation_strict()
        };
        self.send(|| request.patch(&target.name, &parameters, &Patch::Apply(object)))
            .await
            .map_err(|error| operation.failed(error))
    }

    /// Deletes an object; with `uid`, only if it is that very one.
    pub async fn delete(
        &self,
        reference: &ObjectRef,
        uid: Option<&str>,
        propagation: PropagationPolicy,
    ) -> Result<Deleted, ObjectError> {
        let operation = Operation {
            verb: Verb::Delete,
            target: reference,
            sent: None,
        };
        let request = self.request(&operation)?;
        let parameters = DeleteParams {
            propagation_policy: Some(propagation),
            preconditions: uid.map(|uid| Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self
            .send(|| request.delete(&reference.name, &parameters))
            .await
        {
            Ok(_) => Ok(Deleted::Accepted),
            Err(error) => absent(operation.failed(error), Deleted::Absent),
        }
    }

    fn request(&self, operation: &Operation<'_>) -> Result<Request, ObjectError> {
        let target = operation.target;
        match self.kinds.get(&target.gvk) {
            Some(resource) => Ok(Request::new(resource.path(target.namespace.as_deref()))),
            None => Err(operation.because(Reason::NotServed(target.gvk.clone()))),
        }
    }

    async fn send(
        &self,
        build: impl Fn() -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, CallError> {
        idempotent(|| {
            let request = build().map_err(kube::Error::BuildRequest);
            async { self.client.request(request?).await }
        })
        .await
    }
}

/// What is not there is an answer, not an error.
fn absent<T>(error: ObjectError, answer: T) -> Result<T, ObjectError> {
    match error.reason {
        Reason::NotFound | Reason::NamespaceMissing(_) => Ok(answer),
        _ => Err(error),
    }
}

fn typed(mut item: Value, resource: &Resource) -> Value {
    if let Value::Object(fields) = &mut item {
        fields.insert("apiVersion".to_owned(), resource.gvk.api_version().into());
        fields.insert("kind".to_owned(), resource.gvk.kind.clone().into());
    }
    item
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use test_support::kubernetes::{Kubernetes, Script, failure};

    use super::*;
    use crate::cluster::discovery::discover;

    async fn objects(kubernetes: &Kubernetes) -> Objects {
        let client = kubernetes.client();
        let groups = BTreeSet::from(["apps".to_owned()]);
        let kinds = discover(&client, &groups).await.unwrap();
        Objects::new(client, kinds)
    }

    fn config_map(value: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
               "metadata": {"name": "web", "namespace": "default", "labels": {"a": "b"}}, "data": {"k": value}})
    }

    #[tokio::test]
    async fn what_is_applied_can_be_read_listed_and_deleted() {
        let kubernetes = Kubernetes::new();
        let objects = objects(&kubernetes).await;
        let reference = ObjectRef::of(&config_map("one")).unwrap();
        assert_eq!(objects.get(&reference).await.unwrap(), None);

        let dry = ApplyOptions {
            dry_run: true,
            force: false,
        };
        objects.apply(&config_map("one"), dry).await.unwrap();
        assert_eq!(
            objects.get(&reference).await.unwrap(),
            None,
            "a dry run changes nothing"
        );

        let applied = objects
            .apply(&config_map("one"), ApplyOptions::default())
            .await
            .unwrap();
        assert_eq!(objects.get(&reference).await.unwrap(), Some(applied));
        let apply = kubernetes.requests().pop().unwrap();
        assert!(apply.starts_with("GET"), "{apply}");
        assert!(kubernetes.requests().iter().any(|request| request
            == "PATCH /api/v1/namespaces/default/configmaps/web?&fieldManager=stackctl&fieldValidation=Strict"));

        let resource = objects.kinds().get(&reference.gvk).unwrap();
        let listed = objects
            .list(resource, Some("default"), "a=b")
            .await
            .unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            ObjectRef::of(&listed[0]),
            Some(reference.clone()),
            "lists leave out kinds"
        );
        assert_eq!(
            objects
                .list(resource, Some("default"), "a=c")
                .await
                .unwrap()
                .len(),
            0
        );

        let delete = |uid: &'static str| {
            objects.delete(&reference, Some(uid), PropagationPolicy::Background)
        };
        let replaced = delete("another").await.unwrap_err();
        assert!(matches!(replaced.reason, Reason::Changed), "{replaced:?}");
        assert_eq!(delete("uid-web").await.unwrap(), Deleted::Accepted);
        assert_eq!(delete("uid-web").await.unwrap(), Deleted::Absent);
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_by_itself_is_tried_again() {
        let kubernetes = Kubernetes::new();
        let objects = objects(&kubernetes).await;
        let path = "/api/v1/namespaces/default/configmaps/web";
        kubernetes.script("PATCH", path, Script::Break);
        let busy = failure(429, "TooManyRequests", "slow down");
        kubernetes.script("PATCH", path, Script::Respond(429, busy));
        objects
            .apply(&config_map("one"), ApplyOptions::default())
            .await
            .unwrap();
        assert_eq!(kubernetes.writes().len(), 3, "broken, refused, done");
    }

    #[tokio::test]
    async fn a_kind_that_is_not_served_is_named() {
        let kubernetes = Kubernetes::new();
        let objects = objects(&kubernetes).await;
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}});
        let error = objects
            .apply(&budget, ApplyOptions::default())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot apply PodDisruptionBudget/web: this cluster does not serve policy/v1 PodDisruptionBudget"
        );
    }

    #[tokio::test]
    async fn a_missing_namespace_is_named() {
        let kubernetes = Kubernetes::new();
        let objects = objects(&kubernetes).await;
        let mut object = config_map("one");
        object["metadata"]["namespace"] = json!("shop");
        let error = objects
            .apply(&object, ApplyOptions::default())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot apply ConfigMap/web: namespace `shop` does not exist"
        );
    }
}
