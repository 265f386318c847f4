//! The environment variables of a service: each value is a template, rendered to text before all others.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Span};
use crate::stack::{EnvTemplate, Service};
use crate::yaml::Style;

use super::engine::{self, Partials};
use super::source::Source;
use super::value::Value;
use super::{strict, substitute};

/// Rendered variables, by name.
#[derive(Debug, Default)]
pub(super) struct Env {
    /// Those without any secret.
    pub plain: BTreeMap<String, Value>,
    /// Those with a secret in them; it stands there as a token.
    pub secret: BTreeMap<String, Value>,
}

/// Renders the variables of `service`; those that fail are unknown and their problems are returned.
pub(super) fn render(
    service: &Service,
    context: &Value,
    partials: &Partials,
) -> (Env, Vec<Diagnostic>) {
    let mut env = Env::default();
    let mut problems = Vec::new();
    for (name, template) in &service.env {
        let value = variable(template, context, partials).unwrap_or_else(|found| {
            problems.extend(found);
            Value::unknown()
        });
        let group = if value.is_secret() {
            &mut env.secret
        } else {
            &mut env.plain
        };
        group.insert(name.as_str().to_owned(), value);
    }
    (env, problems)
}

fn variable(
    template: &EnvTemplate,
    context: &Value,
    partials: &Partials,
) -> Result<Value, Vec<Diagnostic>> {
    let source = Source::scalar(&template.text, &template.span);
    let compiled = strict::compile(source)?;
    let rendered = engine::render(&compiled, context, partials)?;
    let style = if is_block(&template.span) {
        Style::Block
    } else {
        Style::Plain
    };
    let (text, values) = substitute::text(rendered.text(), &rendered, style)?;
    let mut sources = vec![template.span.clone()];
    sources.extend(values);
    Ok(Value::text(&text).with_sources(sources))
}

/// Whether the scalar at `span` is a literal or folded block: the span starts below its `|` or `>`.
fn is_block(span: &Span) -> bool {
    let before = span.file().text()[..span.range().start].trim_end_matches(' ');
    let Some(above) = before
        .trim_end()
        .rsplit('\n')
        .next()
        .filter(|_| before.ends_with('\n'))
    else {
        return false;
    };
    let header = above.split(" #").next().unwrap_or_default();
    let sign = header.split_whitespace().next_back().unwrap_or_default();
    sign.starts_with(['|', '>'])
}
