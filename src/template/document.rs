//! Documents → objects: what every Kubernetes object has, and where secrets may be.

use serde_json::Value as Json;

use crate::diagnostic::{Code, Diagnostic};
use crate::manifest::Object;
use crate::secret::{self, Encoding, Piece};
use crate::stack::ServiceName;

use super::substitute::Document;

const INCOMPLETE: Code = Code::new("S0216");
const LIST: Code = Code::new("S0217");
const MISPLACED_SECRET: Code = Code::new("S0218");

/// The object a document describes; none where the document is empty.
pub(super) fn object(
    document: Document,
    service: &ServiceName,
) -> Result<Option<Object>, Vec<Diagnostic>> {
    if document.value.is_null() {
        return Ok(None);
    }
    let mut problems = incomplete(&document);
    problems.extend(list(&document));
    misplaced_secrets(&document, &document.value, String::new(), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Some(Object {
        value: document.value,
        service: Some(service.clone()),
        origins: document.origins,
    }))
}

fn incomplete(document: &Document) -> Vec<Diagnostic> {
    if !document.value.is_object() {
        return vec![
            Diagnostic::error(INCOMPLETE, "this document is no Kubernetes object")
                .at(&document.place, "")
                .hint("an object is a map with `apiVersion`, `kind` and `metadata.name`"),
        ];
    }
    ["/apiVersion", "/kind", "/metadata/name"]
        .into_iter()
        .filter_map(|pointer| {
            let place = document
                .origins
                .get(pointer)
                .map_or(&document.place, |origin| &origin.template);
            let field = pointer[1..].replace('/', ".");
            match document.value.pointer(pointer) {
                Some(Json::String(text)) if !text.is_empty() => None,
                Some(_) => Some(
                    Diagnostic::error(INCOMPLETE, format!("`{field}` must be a text"))
                        .at(place, ""),
                ),
                None => Some(
                    Diagnostic::error(INCOMPLETE, format!("this object has no `{field}`"))
                        .at(place, ""),
                ),
            }
        })
        .collect()
}

fn list(document: &Document) -> Option<Diagnostic> {
    let kind = document.value.get("kind")?.as_str()?;
    let is_list =
        kind == "List" || (kind.ends_with("List") && document.value.get("items").is_some());
    is_list.then(|| {
        let place = document
            .origins
            .get("/kind")
            .map_or(&document.place, |origin| &origin.template);
        Diagnostic::error(LIST, format!("a {kind} cannot be deployed as one object"))
            .at(place, "")
            .hint("write its items as documents of their own, with `---` between them")
    })
}

fn misplaced_secrets(
    document: &Document,
    value: &Json,
    pointer: String,
    problems: &mut Vec<Diagnostic>,
) {
    match value {
        Json::String(text) if secret::is_secret(text) => {
            problems.extend(misplaced(document, text, &pointer));
        }
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                misplaced_secrets(document, item, format!("{pointer}/{index}"), problems);
            }
        }
        Json::Object(entries) => {
            for (key, item) in entries {
                let key = key.replace('~', "~0").replace('/', "~1");
                misplaced_secrets(document, item, format!("{pointer}/{key}"), problems);
            }
        }
        _ => {}
    }
}

fn misplaced(document: &Document, text: &str, pointer: &str) -> Option<Diagnostic> {
    let is = |field: &str, expected: &str| {
        document.value.get(field).and_then(Json::as_str) == Some(expected)
    };
    let is_secret = is("kind", "Secret") && is("apiVersion", "v1");
    let mut steps = pointer.split('/').skip(1);
    let (field, depth) = (steps.next().unwrap_or_default(), steps.count());
    let encoded = matches!(
        secret::pieces(text).as_slice(),
        [Piece::Secret(reference)] if reference.encodings.last() == Some(&Encoding::Base64)
    );
    let names: Vec<String> = secret::names(text)
        .map(|name| format!("`{name}`"))
        .collect();
    let names = names.join(", ");
    let (message, hint) = match (is_secret, field, depth) {
        (true, "stringData", 1) => return None,
        (true, "data", 1) if encoded => return None,
        (true, "data", 1) => (
            format!("`data` of a Secret is base64, the secret {names} is not"),
            "write it through `b64`, or put it into `stringData`",
        ),
        _ => (
            format!("the secret {names} would be readable here"),
            "put it into a Secret and refer to that with `secretKeyRef`; a value of `env` in service.yaml does so by itself",
        ),
    };
    let origin = document.origins.get(pointer)?;
    let problem = Diagnostic::error(MISPLACED_SECRET, message).at(&origin.template, "");
    Some(problem.hint(hint))
}
