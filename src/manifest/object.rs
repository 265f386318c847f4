//! A rendered object and the places its fields come from.

use std::collections::{BTreeMap, BTreeSet};

use k8s_model::ObjectRef;
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::stack::ServiceName;

/// One rendered object. Its strings may hold tokens of secrets (see [`crate::secret`]), in a Secret's
/// `data` and `stringData` only.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The object; has `apiVersion`, `kind` and `metadata.name`.
    pub value: Value,
    /// The service it belongs to; none for objects of the stack as a whole (its Namespace).
    pub service: Option<ServiceName>,
    /// Where its fields come from.
    pub origins: Origins,
}

/// Where one field comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The line of the template.
    pub template: Span,
    /// The values that went into it, each with its place in a file.
    pub values: Vec<Span>,
}

/// The origins of an object's fields, by JSON pointer (RFC 6901).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    written: BTreeMap<String, Origin>,
    filled_in: BTreeSet<String>,
}

impl Object {
    /// What identifies it.
    ///
    /// # Panics
    /// Where `value` lacks what every object has; such documents are refused when they are parsed.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::of(&self.value)
            .expect("apiVersion, kind and metadata.name are checked when an object is made")
    }

    /// An error about the field at `pointer`, with the lines it comes from.
    pub(crate) fn error(&self, code: Code, pointer: &str, message: String) -> Diagnostic {
        self.place(Diagnostic::error(code, message), pointer)
    }

    /// Adds the lines that the field at `pointer` comes from: that of the value first.
    pub(crate) fn place(&self, problem: Diagnostic, pointer: &str) -> Diagnostic {
        match self.origins.get(pointer) {
            None => problem,
            Some(origin) => match origin.values.last() {
                None => problem.at(&origin.template, ""),
                Some(value) => problem.at(value, "").at(&origin.template, "put in here"),
            },
        }
    }
}

impl Origins {
    /// Notes where the field at `pointer` comes from.
    pub fn insert(&mut self, pointer: String, origin: Origin) {
        self.written.insert(pointer, origin);
    }

    /// Notes that stackctl itself set the field at `pointer`.
    pub fn fill_in(&mut self, pointer: String) {
        self.filled_in.insert(pointer);
    }

    /// Whether stackctl itself set the field at `pointer`.
    #[must_use]
    pub fn is_filled_in(&self, pointer: &str) -> bool {
        self.filled_in.contains(pointer)
    }

    /// The origin of the field at `pointer`, or of the nearest field around it.
    #[must_use]
    pub fn get(&self, pointer: &str) -> Option<&Origin> {
        let mut pointer = pointer;
        loop {
            if let Some(origin) = self.written.get(pointer) {
                return Some(origin);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }

    /// All written fields with their origins, in the order of their pointers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.written
            .iter()
            .map(|(pointer, origin)| (pointer.as_str(), origin))
    }
}

impl Origin {
    /// What a user would change: the nearest value, else the template.
    #[must_use]
    pub fn place(&self) -> &Span {
        self.values.last().unwrap_or(&self.template)
    }
}
