//! What is in view at a place of a template, and the value a path leads to.

use crate::diagnostic::{Code, Diagnostic, did_you_mean};

use super::ast::{Origin, Path, Step};
use super::value::{Data, Secrets, Value};

const MISSING: Code = Code::new("S0206");
const UNKNOWN_SECRET: Code = Code::new("S0207");

/// The whole context, then the blocks around.
pub(super) struct Scopes {
    root: Scope,
    /// Innermost last.
    blocks: Vec<Scope>,
}

/// What `#each` and `#with` bring into view.
pub(super) struct Scope {
    pub this: Value,
    /// `@index` and the like, by their names without `@`.
    pub locals: Vec<(&'static str, Value)>,
    /// The names after `as |value key|`.
    pub parameters: Vec<(String, Value)>,
}

impl Scope {
    pub(super) fn new(this: Value) -> Self {
        Self {
            this,
            locals: Vec::new(),
            parameters: Vec::new(),
        }
    }
}

impl Scopes {
    pub(super) fn new(context: Value) -> Self {
        Self {
            root: Scope::new(context),
            blocks: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, scope: Scope) {
        self.blocks.push(scope);
    }

    pub(super) fn pop(&mut self) {
        self.blocks.pop();
    }

    pub(super) fn innermost(&self) -> &Scope {
        self.blocks.last().unwrap_or(&self.root)
    }

    /// The value at `path`. Where it is not used (`live` is false), what lies inside null is not known.
    pub(super) fn find(&self, path: &Path, live: bool) -> Result<Value, Box<Diagnostic>> {
        let (mut value, steps) = self.start(path)?;
        for (index, name) in steps.iter().enumerate() {
            value = match (step(&value, &name.name), &value.data) {
                (Some(next), _) => next,
                (None, Data::Null) if !live => Value::unknown(),
                _ => return Err(Box::new(self.missing(&value, name, path, index == 0))),
            };
        }
        Ok(value)
    }

    /// The value a path starts from, and the steps that remain.
    fn start<'p>(&self, path: &'p Path) -> Result<(Value, &'p [Step]), Box<Diagnostic>> {
        match &path.origin {
            Origin::Root => Ok((self.root.this.clone(), &path.steps)),
            Origin::This(up) => {
                let named = path.steps.first().filter(|_| *up == 0);
                match named.and_then(|first| self.parameter(&first.name)) {
                    Some(value) => Ok((value, &path.steps[1..])),
                    None => Ok((self.outer(*up, path)?.this.clone(), &path.steps)),
                }
            }
            Origin::Local(up, name) => {
                let locals = &self.outer(*up, path)?.locals;
                match locals.iter().find(|(local, _)| local == name) {
                    Some((_, value)) => Ok((value.clone(), &path.steps)),
                    None => Err(Box::new(unknown_local(path, name, locals))),
                }
            }
        }
    }

    /// The scope that is `up` blocks out.
    fn outer(&self, up: usize, path: &Path) -> Result<&Scope, Box<Diagnostic>> {
        let mut scopes = self.blocks.iter().rev().chain([&self.root]);
        scopes.nth(up).ok_or_else(|| {
            let problem = Diagnostic::error(MISSING, "there is no block that far out")
                .at(&path.span, "")
                .hint("only `each` and `with` make a level for `../`");
            Box::new(problem)
        })
    }

    fn parameter(&self, name: &str) -> Option<Value> {
        let mut parameters = self.blocks.iter().rev().flat_map(|scope| &scope.parameters);
        let found = parameters.find(|(parameter, _)| parameter == name);
        found.map(|(_, value)| value.clone())
    }

    fn missing(&self, value: &Value, step: &Step, path: &Path, first: bool) -> Diagnostic {
        let name = &step.name;
        let entries = match &value.data {
            Data::Secrets(secrets) => return unknown_secret(step, secrets),
            Data::Map(entries) => entries,
            Data::List(items) => {
                let message = format!("there is no `{name}` in a list of {}", items.len());
                return Diagnostic::error(MISSING, message).at(&step.span, "");
            }
            _ => {
                let message = format!("there is no `{name}` in {}", value.type_name());
                let problem = Diagnostic::error(MISSING, message).at(&step.span, "");
                return match value.data {
                    Data::Null => problem.hint("what may be null needs an `{{#if}}` around it"),
                    _ => problem,
                };
            }
        };
        let problem =
            Diagnostic::error(MISSING, format!("there is no `{name}` here")).at(&step.span, "");
        let keys: Vec<&str> = entries.keys().map(String::as_str).collect();
        if let Some(near) = did_you_mean(name, keys.iter().copied()) {
            return problem.hint(format!("did you mean `{near}`?"));
        }
        if let Some(elsewhere) = self.elsewhere(path).filter(|_| first) {
            return problem.hint(format!("did you mean `{elsewhere}`?"));
        }
        problem.hint(match keys.as_slice() {
            [] => "there is nothing at all".to_owned(),
            keys => format!("there are: {}", keys.join(", ")),
        })
    }

    /// Where the path would begin to exist: in the whole context, or among the service's values.
    fn elsewhere(&self, path: &Path) -> Option<String> {
        let name = &path.steps.first()?.name;
        let inside = !self.blocks.is_empty();
        let Data::Map(root) = &self.root.this.data else {
            return None;
        };
        if inside && path.origin == Origin::This(0) && root.contains_key(name) {
            return Some(format!("@root.{}", path.span.text()));
        }
        let Data::Map(values) = &root.get("values")?.data else {
            return None;
        };
        let prefix = if inside { "@root." } else { "" };
        values
            .contains_key(name)
            .then(|| format!("{prefix}values.{name}"))
    }
}

fn step(value: &Value, name: &str) -> Option<Value> {
    match &value.data {
        Data::Map(entries) => entries.get(name).cloned(),
        Data::Secrets(secrets) => secrets.by_name.get(name).cloned(),
        Data::List(items) => items.get(name.parse::<usize>().ok()?).cloned(),
        Data::Unknown => Some(Value::unknown()),
        _ => None,
    }
}

fn unknown_local(path: &Path, name: &str, locals: &[(&'static str, Value)]) -> Diagnostic {
    let problem =
        Diagnostic::error(MISSING, format!("there is no `@{name}` here")).at(&path.span, "");
    let known: Vec<String> = locals
        .iter()
        .map(|(local, _)| format!("`@{local}`"))
        .collect();
    problem.hint(match known.as_slice() {
        [] => {
            "`@index`, `@first`, `@last` and, for maps, `@key` are there inside `each`".to_owned()
        }
        known => format!("there are: {}", known.join(", ")),
    })
}

fn unknown_secret(step: &Step, secrets: &Secrets) -> Diagnostic {
    let message = format!("there is no secret `{}`", step.name);
    let problem = Diagnostic::error(UNKNOWN_SECRET, message).at(&step.span, "");
    let known = secrets.by_name.keys().map(String::as_str);
    let problem = match did_you_mean(&step.name, known) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem,
    };
    problem.hint(format!(
        "declare it under `secrets:` of {}",
        secrets.declared_in
    ))
}
