//! Handlebars' parsed template → our own, without what has no place in a manifest: unescaped output,
//! decorators, raw blocks, unknown functions, named arguments.

use std::collections::HashMap;
use std::ops::Range;

use handlebars::Template as Parsed;
use handlebars::template::{
    BlockParam, DecoratorTemplate, HelperTemplate, Parameter, Subexpression, TemplateElement,
};
use serde_json::Value as Json;

use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::secret;

use super::ast::{Block, BlockKind, Call, Expression, Node, Partial, Path, Step, Template};
use super::functions::Function;
use super::source::Source;
use super::syntax::Lines;
use super::tag::{self, Tag};
use super::value::Value;
use super::{literal, path, syntax};

const UNSUPPORTED: Code = Code::new("S0203");
const UNKNOWN_FUNCTION: Code = Code::new("S0204");
const ARGUMENTS: Code = Code::new("S0205");

/// Compiles a template, or says everything that is wrong with it.
pub(super) fn compile(source: Source) -> Result<Template, Vec<Diagnostic>> {
    syntax::refuse_reserved(&source).map_err(|problem| vec![problem])?;
    let parsed =
        Parsed::compile(source.text()).map_err(|error| vec![syntax::explain(&source, &error)])?;
    let mut compiler = Compiler {
        text: source.text(),
        source: &source,
        lines: Lines::of(source.text()),
        cursor: 0,
        problems: Vec::new(),
    };
    let nodes = compiler.nodes(&parsed);
    let problems = compiler.problems;
    if problems.is_empty() {
        Ok(Template { source, nodes })
    } else {
        Err(problems)
    }
}

struct Compiler<'a> {
    text: &'a str,
    source: &'a Source,
    lines: Lines,
    /// Everything before it is done.
    cursor: usize,
    problems: Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn nodes(&mut self, parsed: &Parsed) -> Vec<Node> {
        let mut nodes = Vec::with_capacity(parsed.elements.len());
        for (index, element) in parsed.elements.iter().enumerate() {
            let at = match parsed.mapping.get(index) {
                Some(place) => self.lines.offset(self.text, (place.0, place.1)),
                // Handlebars notes no place for what follows an `else`, which is a tag like any other.
                None => self.cursor,
            };
            self.cursor = self.cursor.max(at);
            nodes.extend(self.node(element, at));
        }
        nodes
    }

    fn node(&mut self, element: &TemplateElement, at: usize) -> Option<Node> {
        use TemplateElement as E;
        match element {
            E::RawString(text) => {
                let runs = literal::runs(text, self.text, at);
                let end = runs.last().map_or(at, |run| run.place.end);
                self.cursor = self.cursor.max(end);
                Some(Node::Text(runs))
            }
            E::Comment(_) => None,
            E::Expression(expression) => self.write(expression, at),
            E::HelperBlock(block) => self.block(block, at),
            E::PartialExpression(partial) => self.partial(partial, at),
            E::HtmlExpression(_) => self.refuse(
                at,
                "`{{{ }}}` and `{{& }}` have no meaning here",
                "write `{{ }}`: values are put in after the YAML is parsed, nothing is escaped",
            ),
            E::DecoratorExpression(_) | E::DecoratorBlock(_) => self.refuse(
                at,
                "decorators are not supported",
                "use `{{#with}}` or a partial",
            ),
            E::PartialBlock(_) => self.refuse(
                at,
                "partials take no block",
                "write `{{> name}}`, and a condition around it",
            ),
            _ => self.refuse(at, "this is not supported", "remove it"),
        }
    }

    fn refuse(&mut self, at: usize, message: &str, hint: &str) -> Option<Node> {
        let tag = Tag::at(self.text, at);
        self.problem(UNSUPPORTED, message, tag.range, hint);
        None
    }

    fn problem(&mut self, code: Code, message: &str, range: Range<usize>, hint: &str) {
        let span = self.source.span(range);
        let problem = Diagnostic::error(code, message).at(&span, "");
        self.problems.push(match hint {
            "" => problem,
            hint => problem.hint(hint),
        });
    }

    fn write(&mut self, expression: &HelperTemplate, at: usize) -> Option<Node> {
        let tag = Tag::at(self.text, at);
        let value = if expression.params.is_empty() && expression.hash.is_empty() {
            self.expression(&expression.name, &tag)?
        } else {
            self.call(expression, &tag)?
        };
        let span = self.source.span(tag.range);
        Some(Node::Write { value, span })
    }

    fn expression(&mut self, parameter: &Parameter, tag: &Tag) -> Option<Expression> {
        match parameter {
            Parameter::Path(_) | Parameter::Name(_) => {
                let text = parameter.as_name().unwrap_or_default();
                Some(Expression::Path(self.path(text, tag)))
            }
            Parameter::Literal(json) => self.literal(json, tag),
            Parameter::Subexpression(Subexpression { element, .. }) => match element.as_ref() {
                TemplateElement::Expression(call) => self.call(call, tag),
                _ => None,
            },
            _ => None,
        }
    }

    fn literal(&mut self, json: &Json, tag: &Tag) -> Option<Expression> {
        if json
            .to_string()
            .chars()
            .any(|c| secret::RESERVED.contains(&c))
        {
            self.problem(
                syntax::RESERVED,
                "a character in this text is reserved",
                tag.range.clone(),
                "",
            );
            return None;
        }
        Some(Expression::Literal(Value::from_json(json)))
    }

    fn path(&self, text: &str, tag: &Tag) -> Path {
        let place = tag.find(self.text, text);
        let found = self.text[place.clone()] == *text;
        let path::Written { origin, steps } = path::parse(text);
        let steps = steps
            .into_iter()
            .map(|(name, range)| {
                let range = place.start + range.start..place.start + range.end;
                let range = if found { range } else { place.clone() };
                Step {
                    name,
                    span: self.source.span(range),
                }
            })
            .collect();
        Path {
            origin,
            steps,
            span: self.source.span(place),
        }
    }

    fn call(&mut self, call: &HelperTemplate, tag: &Tag) -> Option<Expression> {
        let name = call.name.as_name().unwrap_or_default();
        let place = tag.find(self.text, name);
        let Some(function) = Function::by_name(name) else {
            self.unknown_function(name, place, Function::names());
            return None;
        };
        self.no_names(&call.hash, tag);
        let arguments = self.arguments(&call.params, tag)?;
        if let Some(expected) = function.refuses_count(arguments.len()) {
            let message = format!("`{name}` takes {expected}, not {}", arguments.len());
            self.problem(ARGUMENTS, &message, place, "");
            return None;
        }
        Some(Expression::Call(Call {
            function,
            arguments,
            span: self.source.span(place),
        }))
    }

    fn arguments(&mut self, parameters: &[Parameter], tag: &Tag) -> Option<Vec<Expression>> {
        // All of them are looked at, so that all problems are reported.
        let arguments: Vec<_> = parameters
            .iter()
            .map(|parameter| self.expression(parameter, tag))
            .collect();
        arguments.into_iter().collect()
    }

    fn unknown_function<'n>(
        &mut self,
        name: &str,
        place: Range<usize>,
        known: impl Iterator<Item = &'n str>,
    ) {
        let known: Vec<&str> = known.collect();
        let hint = match did_you_mean(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", known.join(", ")),
        };
        let message = format!("there is no function `{name}`");
        self.problem(UNKNOWN_FUNCTION, &message, place, &hint);
    }

    fn no_names(&mut self, named: &HashMap<String, Parameter>, tag: &Tag) {
        let mut names: Vec<&String> = named.keys().collect();
        names.sort();
        for name in names {
            let place = tag.find(self.text, name);
            let message = format!("there is no argument called `{name}` here");
            self.problem(
                ARGUMENTS,
                &message,
                place,
                "write the arguments one after the other",
            );
        }
    }

    fn block(&mut self, block: &HelperTemplate, at: usize) -> Option<Node> {
        let tag = Tag::at(self.text, at);
        if self.text[tag.range.clone()].starts_with("{{{{") {
            return self.refuse(
                at,
                "raw blocks are not supported",
                "write `\\{{` for a literal `{{`",
            );
        }
        self.cursor = self.cursor.max(tag.range.end);
        let head = self.block_head(block, &tag);
        let body = block.template.as_ref().map(|template| self.nodes(template));
        let otherwise = block.inverse.as_ref().map(|inverse| {
            if let Some(tag) = tag::next_else(self.text, self.cursor) {
                // A chained `else if` is a block whose place is this tag.
                let chained = inverse.mapping.is_empty() && !inverse.elements.is_empty();
                self.cursor = if chained {
                    tag.range.start
                } else {
                    tag.range.end
                };
            }
            self.nodes(inverse)
        });
        let (kind, subject, parameters) = head?;
        Some(Node::Block(Box::new(Block {
            kind,
            subject,
            parameters,
            body: body.unwrap_or_default(),
            otherwise: otherwise.unwrap_or_default(),
        })))
    }

    fn block_head(
        &mut self,
        block: &HelperTemplate,
        tag: &Tag,
    ) -> Option<(BlockKind, Expression, Vec<String>)> {
        let name = block.name.as_name().unwrap_or_default();
        let kind = match name {
            "if" | "unless" => {
                let zero_is_true = self.include_zero(&block.hash, tag);
                match name {
                    "if" => BlockKind::If { zero_is_true },
                    _ => BlockKind::Unless { zero_is_true },
                }
            }
            "each" => BlockKind::Each,
            "with" => BlockKind::With,
            _ if Function::by_name(name).is_some_and(Function::is_condition) => {
                let zero_is_true = false;
                let subject = self.call(block, tag)?;
                return Some((BlockKind::If { zero_is_true }, subject, Vec::new()));
            }
            _ => {
                let known = ["if", "unless", "each", "with"].into_iter();
                let place = tag.find(self.text, name);
                self.unknown_function(name, place, known);
                return None;
            }
        };
        if matches!(kind, BlockKind::Each | BlockKind::With) {
            self.no_names(&block.hash, tag);
        }
        let mut arguments = self.arguments(&block.params, tag)?;
        if arguments.len() != 1 {
            let message = format!("`{name}` takes 1 argument, not {}", arguments.len());
            self.problem(ARGUMENTS, &message, tag.range.clone(), "");
        }
        let parameters = block_parameters(block.block_param.as_ref());
        Some((kind, arguments.pop()?, parameters))
    }

    /// `{{#if x includeZero=true}}`
    fn include_zero(&mut self, named: &HashMap<String, Parameter>, tag: &Tag) -> bool {
        let (include, others): (Vec<_>, Vec<_>) =
            named.iter().partition(|(name, _)| *name == "includeZero");
        let others = others
            .into_iter()
            .map(|(name, value)| (name.clone(), value.clone()));
        self.no_names(&others.collect(), tag);
        match include.first() {
            None => false,
            Some((_, Parameter::Literal(Json::Bool(value)))) => *value,
            Some(_) => {
                let place = tag.find(self.text, "includeZero");
                self.problem(ARGUMENTS, "`includeZero` is true or false", place, "");
                false
            }
        }
    }

    fn partial(&mut self, partial: &DecoratorTemplate, at: usize) -> Option<Node> {
        let tag = Tag::at(self.text, at);
        let Some(name) = partial.name.as_name() else {
            return self.refuse(
                at,
                "a partial's name cannot be computed",
                "write its name, and a condition around it",
            );
        };
        if !partial.hash.is_empty() {
            return self.refuse(
                at,
                "partials take no named arguments",
                "what a partial needs can be passed as its `this`: `{{> name value}}`",
            );
        }
        let mut arguments = self.arguments(&partial.params, &tag)?;
        if arguments.len() > 1 {
            let message = format!("a partial takes 1 argument, not {}", arguments.len());
            self.problem(ARGUMENTS, &message, tag.range, "");
            return None;
        }
        Some(Node::Partial(Partial {
            name: name.trim_matches(['\'', '[', ']']).to_owned(),
            this: arguments.pop(),
            indent: self.indentation(&tag),
            span: self.source.span(tag.range),
        }))
    }

    /// What stands before a tag that is alone in its line.
    fn indentation(&self, tag: &Tag) -> String {
        let before = &self.text[..tag.range.start];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let after = self.text[tag.range.end..]
            .split('\n')
            .next()
            .unwrap_or_default();
        if before[start..].trim().is_empty() && after.trim().is_empty() {
            before[start..].to_owned()
        } else {
            String::new()
        }
    }
}

fn block_parameters(parameters: Option<&BlockParam>) -> Vec<String> {
    let name = |parameter: &Parameter| parameter.as_name().unwrap_or_default().to_owned();
    match parameters {
        None => Vec::new(),
        Some(BlockParam::Single(one)) => vec![name(one)],
        Some(BlockParam::Pair((first, second))) => vec![name(first), name(second)],
        Some(_) => Vec::new(),
    }
}
