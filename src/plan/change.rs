//! A plan and its changes.

use k8s_model::ObjectRef;
use serde_json::Value;

use crate::diagnostic::Span;
use crate::manifest::Object;
use crate::stack::ServiceName;

/// What a deployment does to each object.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In the order of applying; what is deleted comes last.
    pub changes: Vec<Change>,
}

/// What happens to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which object.
    pub reference: ObjectRef,
    /// The service it belongs to; none for objects of the stack as a whole and for those that are no
    /// longer in it.
    pub service: Option<ServiceName>,
    /// What happens.
    pub action: Action,
    /// What it shall be; none where it is deleted.
    pub desired: Option<Object>,
}

/// What can happen to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It does not exist yet.
    Create,
    /// It exists and differs.
    Update {
        /// What differs; empty where the object could not be applied on trial.
        fields: Vec<FieldChange>,
    },
    /// It exists and is no longer in the stack.
    Delete,
    /// It exists as desired.
    Keep,
}

/// One field that differs. Values of secrets are replaced with `<secret>`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// As shown: `spec.template.spec.containers[web].image`.
    pub path: String,
    /// JSON pointer into the new object; into the live one where the field goes.
    pub pointer: String,
    /// The live value; none where the field is new.
    pub from: Option<Value>,
    /// The new value; none where the field goes.
    pub to: Option<Value>,
    /// What a user would change: the line of the value, else of the template. None where the cluster
    /// itself sets the field.
    pub origin: Option<Span>,
}

impl Plan {
    /// Whether applying it would change anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes
            .iter()
            .all(|change| change.action == Action::Keep)
    }

    /// How many objects are created, updated, deleted and kept.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, usize); 4] {
        let mut counts = [
            ("create", 0),
            ("update", 0),
            ("delete", 0),
            ("unchanged", 0),
        ];
        for change in &self.changes {
            counts[match change.action {
                Action::Create => 0,
                Action::Update { .. } => 1,
                Action::Delete => 2,
                Action::Keep => 3,
            }]
            .1 += 1;
        }
        counts
    }

    /// One line: `1 create  2 update  27 unchanged`.
    #[must_use]
    pub fn summary(&self) -> String {
        let parts: Vec<String> = self
            .counts()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        if parts.is_empty() {
            "no objects".to_owned()
        } else {
            parts.join("  ")
        }
    }
}
