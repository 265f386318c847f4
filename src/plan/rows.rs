//! A plan as rows of words: one for each object that is made or goes, one for each field that changes.

use serde_json::Value;

use crate::diagnostic::Span;

use super::change::{Action, Change, FieldChange, Plan};

/// Values longer than this are cut: a row is one line.
const LONGEST: usize = 60;

/// One row. Values of secrets are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `+` made, `~` changed, `-` deleted.
    pub sign: char,
    /// Such as `Deployment/counter`.
    pub object: String,
    /// Such as `spec.replicas`; empty where the object as a whole is meant.
    pub field: String,
    /// Such as `2 → 3`; empty where the object as a whole is meant.
    pub values: String,
    /// Where a user would change it, such as `environments/staging.yaml:14`; may be empty.
    pub place: String,
}

impl Plan {
    /// What changes, in the order of applying.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.changes.iter().flat_map(of_change).collect()
    }
}

fn of_change(change: &Change) -> Vec<Row> {
    let whole = |sign| Row {
        sign,
        object: change.reference.to_string(),
        field: String::new(),
        values: String::new(),
        place: String::new(),
    };
    match &change.action {
        Action::Create => vec![whole('+')],
        Action::Delete => vec![whole('-')],
        Action::Keep => Vec::new(),
        Action::Update { fields } if fields.is_empty() => vec![whole('~')],
        Action::Update { fields } => fields
            .iter()
            .map(|field| of_field(whole('~'), field))
            .collect(),
    }
}

fn of_field(object: Row, field: &FieldChange) -> Row {
    Row {
        field: field.path.clone(),
        values: format!(
            "{} → {}",
            shown(field.from.as_ref()),
            shown(field.to.as_ref())
        ),
        place: field.origin.as_ref().map(line).unwrap_or_default(),
        ..object
    }
}

/// `path:line`: a column says nothing in a table.
fn line(span: &Span) -> String {
    format!("{}:{}", span.file().path().display(), span.position().line)
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(Value::String(text)) => shortened(text),
        Some(other) => shortened(&other.to_string()),
    }
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST && line.len() == text.len() {
        return text.to_owned();
    }
    line.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use k8s_model::{Gvk, ObjectRef};

    use super::*;
    use crate::diagnostic::SourceFile;

    #[test]
    fn a_field_says_what_where_and_whose() {
        let file = SourceFile::new("environments/staging.yaml", "a: 1\nreplicas: 3\n");
        let field = FieldChange {
            path: "spec.replicas".into(),
            pointer: "/spec/replicas".into(),
            from: Some(2.into()),
            to: Some(3.into()),
            origin: Some(Span::new(&file, 15..16)),
        };
        let change = |name: &str, action| Change {
            reference: ObjectRef {
                gvk: Gvk::new("apps/v1", "Deployment"),
                namespace: None,
                name: name.into(),
            },
            service: None,
            action,
            desired: None,
        };
        let plan = Plan {
            changes: vec![
                change("new", Action::Create),
                change(
                    "web",
                    Action::Update {
                        fields: vec![field],
                    },
                ),
                change("same", Action::Keep),
            ],
        };
        let rows: Vec<String> = plan
            .rows()
            .iter()
            .map(|row| {
                [
                    row.sign.to_string().as_str(),
                    &row.object,
                    &row.field,
                    &row.values,
                    &row.place,
                ]
                .join(" ")
            })
            .collect();
        assert_eq!(
            rows,
            [
                "+ Deployment/new   ",
                "~ Deployment/web spec.replicas 2 → 3 environments/staging.yaml:2"
            ]
        );
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened("two\nlines"), "two…");
        assert_eq!(shortened(&"x".repeat(80)).chars().count(), 61);
    }
}
