//! Runs a template over a context: every value becomes a token, every path must exist, and all problems
//! are found at once.
//!
//! Branches that are not taken are walked too, without writing, so that a misspelt path in them is found
//! in every environment. What lies inside null is not known there and passes.

use std::collections::BTreeMap;

use crate::diagnostic::{Code, Diagnostic, Span, did_you_mean};

use super::ast::{Block, BlockKind, Call, Expression, Node, Partial, Run, Template};
use super::functions;
use super::placeholder::Rendered;
use super::scope::{Scope, Scopes};
use super::source::Source;
use super::value::{Data, Value};

const FUNCTION: Code = Code::new("S0208");
const SECRET: Code = Code::new("S0209");
const PARTIAL: Code = Code::new("S0210");
const NOT_ITERABLE: Code = Code::new("S0211");

/// Partials inside partials; deeper ones call themselves.
const MAX_DEPTH: usize = 16;

/// The partials by name; none where one is broken, which is reported where it is compiled.
pub(super) type Partials = BTreeMap<String, Option<Template>>;

/// Renders a template over `context`. An error without a problem follows from one that is reported elsewhere.
pub(super) fn render(
    template: &Template,
    context: &Value,
    partials: &Partials,
) -> Result<Rendered, Vec<Diagnostic>> {
    let mut engine = Engine {
        partials,
        scopes: Scopes::new(context.clone()),
        rendered: Rendered::default(),
        indent: String::new(),
        live: true,
        depth: 0,
        incomplete: false,
        problems: Vec::new(),
    };
    engine.nodes(&template.nodes, &template.source);
    if engine.problems.is_empty() && !engine.incomplete {
        Ok(engine.rendered)
    } else {
        Err(engine.problems)
    }
}

struct Engine<'a> {
    partials: &'a Partials,
    scopes: Scopes,
    rendered: Rendered,
    /// What partials put before every line.
    indent: String,
    /// Whether this branch is taken.
    live: bool,
    depth: usize,
    /// Whether something is left out because of a problem that is reported elsewhere.
    incomplete: bool,
    problems: Vec<Diagnostic>,
}

impl Engine<'_> {
    fn nodes(&mut self, nodes: &[Node], source: &Source) {
        for node in nodes {
            match node {
                Node::Text(runs) => self.text(runs, source),
                Node::Write { value, span } => self.write(value, span),
                Node::Block(block) => self.block(block, source),
                Node::Partial(partial) => self.partial(partial),
            }
        }
    }

    fn text(&mut self, runs: &[Run], source: &Source) {
        if !self.live {
            return;
        }
        for Run { text, place } in runs {
            if self.indent.is_empty() {
                self.rendered.write(text, source.span(place.clone()));
            } else {
                self.indented(text, place.start, source);
            }
        }
    }

    fn indented(&mut self, text: &str, mut at: usize, source: &Source) {
        for line in text.split_inclusive('\n') {
            let place = source.span(at..at + line.len());
            if line != "\n" && line != "\r\n" {
                self.start_line(&place);
            }
            self.rendered.write(line, place);
            at += line.len();
        }
    }

    /// Writes the indentation where a line starts.
    fn start_line(&mut self, place: &Span) {
        let starts = self.rendered.text().is_empty() || self.rendered.text().ends_with('\n');
        if starts && !self.indent.is_empty() {
            let start = Span::new(place.file(), place.range().start..place.range().start);
            self.rendered.write(&self.indent, start);
        }
    }

    fn write(&mut self, expression: &Expression, span: &Span) {
        let value = self.evaluate(expression);
        if value.holds_all_secrets() {
            self.all_secrets(span);
        } else if self.live {
            self.incomplete |= value.is_unknown();
            self.start_line(span);
            self.rendered.write_value(value, span.clone());
        }
    }

    fn all_secrets(&mut self, span: &Span) {
        self.problems.push(
            Diagnostic::error(SECRET, "a template can use single secrets, not all of them")
                .at(span, "")
                .hint("write `secrets.NAME`"),
        );
    }

    fn block(&mut self, block: &Block, source: &Source) {
        let subject = self.evaluate(&block.subject);
        if subject.is_secret() || matches!(subject.data, Data::Secrets(_)) {
            return self.secret_condition(block);
        }
        self.incomplete |= self.live && subject.is_unknown();
        match block.kind {
            BlockKind::If { zero_is_true } => {
                self.branches(block, source, &subject, subject.is_truthy(zero_is_true));
            }
            BlockKind::Unless { zero_is_true } => {
                self.branches(block, source, &subject, !subject.is_truthy(zero_is_true));
            }
            BlockKind::With => self.with(block, source, subject),
            BlockKind::Each => self.each(block, source, &subject),
        }
    }

    fn secret_condition(&mut self, block: &Block) {
        let problem = Diagnostic::error(SECRET, "what is rendered must not depend on a secret");
        self.problems.push(match block.subject.span() {
            Some(span) => problem
                .at(span, "this is a secret")
                .hint("use a value that says whether the secret is there"),
            None => problem,
        });
    }

    fn branches(&mut self, block: &Block, source: &Source, subject: &Value, taken: bool) {
        let known = !subject.is_unknown();
        self.branch(&block.body, source, known && taken);
        self.branch(&block.otherwise, source, known && !taken);
    }

    /// Runs a branch; where it is not taken it writes nothing.
    fn branch(&mut self, nodes: &[Node], source: &Source, taken: bool) {
        let live = self.live;
        self.live = live && taken;
        self.nodes(nodes, source);
        self.live = live;
    }

    fn with(&mut self, block: &Block, source: &Source, subject: Value) {
        let known = !subject.is_unknown();
        let taken = subject.is_truthy(false);
        let this = if taken { subject } else { Value::unknown() };
        let mut scope = Scope::new(this.clone());
        scope.locals = self.scopes.innermost().locals.clone();
        scope.parameters = block
            .parameters
            .iter()
            .map(|name| (name.clone(), this.clone()))
            .collect();
        self.scoped(scope, block, source, taken);
        self.branch(&block.otherwise, source, known && !taken);
    }

    fn scoped(&mut self, scope: Scope, block: &Block, source: &Source, taken: bool) {
        self.scopes.push(scope);
        self.branch(&block.body, source, taken);
        self.scopes.pop();
    }

    fn each(&mut self, block: &Block, source: &Source, subject: &Value) {
        let items: Vec<(Value, Value)> = match &subject.data {
            Data::List(items) => {
                let numbered = items.iter().enumerate();
                numbered
                    .map(|(index, item)| (Value::integer(index), item.clone()))
                    .collect()
            }
            Data::Map(entries) => entries
                .iter()
                .map(|(key, item)| {
                    let key = Value::text(key).with_sources(item.sources.to_vec());
                    (key, item.clone())
                })
                .collect(),
            Data::Null | Data::Unknown => Vec::new(),
            _ => return self.not_iterable(block, subject),
        };
        let is_map = matches!(subject.data, Data::Map(_));
        let last = items.len();
        for (index, (key, item)) in items.into_iter().enumerate() {
            let scope = each_scope(block, &key, &item, (index, last, is_map));
            self.scoped(scope, block, source, true);
        }
        if last == 0 {
            let (key, item) = (Value::unknown(), Value::unknown());
            let scope = each_scope(block, &key, &item, (0, 1, true));
            self.scoped(scope, block, source, false);
        }
        self.branch(&block.otherwise, source, last == 0 && !subject.is_unknown());
    }

    fn not_iterable(&mut self, block: &Block, subject: &Value) {
        let message = format!("`each` takes a list or a map, not {}", subject.type_name());
        let problem = Diagnostic::error(NOT_ITERABLE, message);
        self.problems.push(match block.subject.span() {
            Some(span) => problem.at(span, ""),
            None => problem,
        });
    }

    fn partial(&mut self, partial: &Partial) {
        let this = partial.this.as_ref().map(|this| self.evaluate(this));
        let partials = self.partials;
        let template = match partials.get(&partial.name) {
            Some(Some(template)) => template,
            Some(None) => return self.incomplete = true,
            None => return self.unknown_partial(partial),
        };
        if !self.live && self.depth > 0 {
            // A partial may contain itself behind a condition.
            return;
        }
        if self.depth == MAX_DEPTH {
            return self.problems.push(
                Diagnostic::error(
                    PARTIAL,
                    format!("the partial `{}` never ends", partial.name),
                )
                .at(&partial.span, "it is inside itself"),
            );
        }
        let outer = self.indent.clone();
        self.indent.push_str(&partial.indent);
        let scoped = this.is_some();
        if let Some(this) = this {
            self.scopes.push(Scope::new(this));
        }
        self.depth += 1;
        self.nodes(&template.nodes, &template.source);
        self.depth -= 1;
        if scoped {
            self.scopes.pop();
        }
        self.indent = outer;
    }

    fn unknown_partial(&mut self, partial: &Partial) {
        let message = format!("there is no partial `{}`", partial.name);
        let hint = match did_you_mean(&partial.name, self.partials.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "it would be the file templates/partials/{}.hbs",
                partial.name
            ),
        };
        let problem = Diagnostic::error(PARTIAL, message)
            .at(&partial.span, "")
            .hint(hint);
        self.problems.push(problem);
    }

    fn evaluate(&mut self, expression: &Expression) -> Value {
        match expression {
            Expression::Literal(value) => value.clone(),
            Expression::Path(path) => self.scopes.find(path, self.live).unwrap_or_else(|problem| {
                self.problems.push(*problem);
                Value::unknown()
            }),
            Expression::Call(call) => self.call(call),
        }
    }

    fn call(&mut self, call: &Call) -> Value {
        let arguments: Vec<Value> = call
            .arguments
            .iter()
            .map(|argument| self.evaluate(argument))
            .collect();
        functions::call(call.function, &arguments).unwrap_or_else(|error| {
            // What a branch that is not taken would compute says nothing about it.
            if self.live || matches!(error, functions::FunctionError::Secret { .. }) {
                let problem = Diagnostic::error(FUNCTION, error.to_string()).at(&call.span, "");
                self.problems.push(match error.hint() {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
            }
            Value::unknown()
        })
    }
}

fn each_scope(
    block: &Block,
    key: &Value,
    item: &Value,
    (index, count, is_map): (usize, usize, bool),
) -> Scope {
    let bool = |value| Value::new(Data::Bool(value));
    let mut locals = vec![
        ("index", Value::integer(index)),
        ("first", bool(index == 0)),
        ("last", bool(index + 1 == count)),
    ];
    if is_map {
        locals.push(("key", key.clone()));
    }
    let parameters = block.parameters.iter().cloned();
    Scope {
        this: item.clone(),
        locals,
        parameters: parameters.zip([item.clone(), key.clone()]).collect(),
    }
}
