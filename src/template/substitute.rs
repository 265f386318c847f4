//! Puts the values in, after the YAML is parsed: no value can become syntax, and every field keeps the
//! places it comes from.

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::manifest::{Origin, Origins};
use crate::secret;
use crate::yaml::{self, Scalar, Style, Tree, TreeKind};

use super::placeholder::{Piece, Placeholder, Rendered, pieces};
use super::value::{Data, Value};

const NOT_TEXT: Code = Code::new("S0212");
const BAD_KEY: Code = Code::new("S0213");
const DUPLICATE_KEY: Code = Code::new("S0214");
const NO_PLACE: Code = Code::new("S0215");

/// A document with its values.
#[derive(Debug)]
pub(super) struct Document {
    pub value: Json,
    pub origins: Origins,
    /// Where it starts in the template.
    pub place: Span,
}

/// The documents of a rendered template, or all that is wrong with them.
pub(super) fn documents(
    trees: Vec<Tree>,
    rendered: &Rendered,
) -> Result<Vec<Document>, Vec<Diagnostic>> {
    let mut substitution = Substitution {
        rendered,
        origins: Origins::default(),
        problems: Vec::new(),
    };
    substitution.stray_tokens(&trees);
    let mut documents = Vec::new();
    for tree in trees {
        let place = substitution.place(&tree.span);
        let value = substitution.tree(tree, "");
        let origins = std::mem::take(&mut substitution.origins);
        documents.push(Document {
            value,
            origins,
            place,
        });
    }
    if substitution.problems.is_empty() {
        Ok(documents)
    } else {
        Err(substitution.problems)
    }
}

/// Text with its values, and the places these come from.
pub(super) fn text(
    text: &str,
    rendered: &Rendered,
    style: Style,
) -> Result<(String, Vec<Span>), Vec<Diagnostic>> {
    let (mut result, mut sources, mut problems) = (String::new(), Vec::new(), Vec::new());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => result.push_str(text),
            Piece::Token(index) => {
                let Some(placeholder) = rendered.placeholder(index) else {
                    continue;
                };
                match in_text(placeholder, style) {
                    Ok(text) => result.push_str(&text),
                    Err(problem) => problems.push(problem),
                }
                for source in placeholder.value.sources.iter() {
                    if !sources.contains(source) {
                        sources.push(source.clone());
                    }
                }
            }
        }
    }
    if problems.is_empty() {
        Ok((result, sources))
    } else {
        Err(problems)
    }
}

/// A problem that YAML's parser found in the rendered text, at its place in the template.
pub(super) fn at_template(problem: Diagnostic, rendered: &Rendered) -> Diagnostic {
    let Diagnostic {
        code,
        severity,
        message,
        labels,
        notes,
        hints,
    } = problem;
    let mut mapped = Diagnostic {
        severity,
        notes,
        ..Diagnostic::error(code, rendered.readable(&message))
    };
    for label in labels {
        let place = rendered.place(label.span.range()).unwrap_or(label.span);
        mapped = mapped.at(&place, rendered.readable(&label.text));
    }
    for hint in hints {
        mapped = mapped.hint(rendered.readable(&hint));
    }
    mapped
}

struct Substitution<'a> {
    rendered: &'a Rendered,
    origins: Origins,
    problems: Vec<Diagnostic>,
}

impl Substitution<'_> {
    fn place(&self, span: &Span) -> Span {
        self.rendered
            .place(span.range())
            .unwrap_or_else(|| span.clone())
    }

    fn tree(&mut self, tree: Tree, pointer: &str) -> Json {
        let Tree { span, kind } = tree;
        match kind {
            TreeKind::Scalar(scalar) => self.scalar(scalar, span, pointer),
            TreeKind::List(items) => {
                self.note(pointer, self.place(&span), Vec::new());
                let items = items.into_iter().enumerate();
                items
                    .map(|(index, item)| self.tree(item, &format!("{pointer}/{index}")))
                    .collect()
            }
            TreeKind::Map(pairs) => {
                self.note(pointer, self.place(&span), Vec::new());
                self.map(pairs, pointer)
            }
        }
    }

    fn map(&mut self, pairs: Vec<(Tree, Tree)>, pointer: &str) -> Json {
        let mut map = Map::new();
        let mut places: Vec<(String, Span)> = Vec::new();
        for (key, value) in pairs {
            let place = self.place(&key.span);
            let Some(name) = self.key(key) else {
                continue;
            };
            if let Some((_, first)) = places.iter().find(|(other, _)| *other == name) {
                self.problems.push(
                    Diagnostic::error(DUPLICATE_KEY, format!("the key `{name}` is there twice"))
                        .at(&place, "again here")
                        .at(first, "first here"),
                );
                continue;
            }
            let value = self.tree(value, &child(pointer, &name));
            places.push((name.clone(), place));
            map.insert(name, value);
        }
        Json::Object(map)
    }

    fn key(&mut self, key: Tree) -> Option<String> {
        if let TreeKind::Scalar(scalar) = &key.kind {
            let (mut tokens, mut others) = (Vec::new(), 0);
            for piece in pieces(&scalar.text) {
                match piece {
                    Piece::Token(index) => tokens.push(index),
                    Piece::Text(_) => others += 1,
                }
            }
            let alone = tokens.len() == 1 && others == 0 && scalar.style == Style::Plain;
            let typed = tokens.first().filter(|_| alone);
            if let Some(placeholder) = typed.and_then(|index| self.rendered.placeholder(*index)) {
                return self.typed_key(placeholder);
            }
            if !tokens.is_empty() {
                return self.text_key(scalar);
            }
        }
        let null = Tree {
            span: key.span.clone(),
            kind: TreeKind::Scalar(Scalar {
                text: String::new(),
                style: Style::Plain,
            }),
        };
        let pair = Tree {
            span: key.span.clone(),
            kind: TreeKind::Map(vec![(key, null)]),
        };
        let node = self.resolve(pair)?;
        node.entries().first().map(|(key, _)| key.name.clone())
    }

    fn typed_key(&mut self, placeholder: &Placeholder) -> Option<String> {
        let Placeholder { value, place } = placeholder;
        let name = match &value.data {
            Data::String(text) if !value.is_secret() => return Some(text.to_string()),
            Data::Bool(value) => return Some(value.to_string()),
            Data::Number(number) if !number.is_f64() => return Some(number.to_string()),
            _ => value.type_name(),
        };
        let problem = Diagnostic::error(BAD_KEY, format!("{name} cannot be a key")).at(place, "");
        self.problems.push(problem);
        None
    }

    fn text_key(&mut self, scalar: &Scalar) -> Option<String> {
        match text(&scalar.text, self.rendered, scalar.style) {
            Ok((name, _)) if !secret::is_secret(&name) => return Some(name),
            Ok(_) => {
                let place = pieces(&scalar.text).find_map(|piece| match piece {
                    Piece::Token(index) => self.rendered.placeholder(index),
                    Piece::Text(_) => None,
                });
                let problem = Diagnostic::error(BAD_KEY, "a secret cannot be part of a key");
                self.problems.push(match place {
                    Some(placeholder) => problem.at(&placeholder.place, ""),
                    None => problem,
                });
            }
            Err(problems) => self.problems.extend(problems),
        }
        None
    }

    fn resolve(&mut self, tree: Tree) -> Option<yaml::Node> {
        match yaml::resolve(tree) {
            Ok(node) => Some(node),
            Err(problems) => {
                let mapped = problems
                    .into_iter()
                    .map(|problem| at_template(problem, self.rendered));
                self.problems.extend(mapped);
                None
            }
        }
    }

    fn scalar(&mut self, scalar: Scalar, span: Span, pointer: &str) -> Json {
        let found: Vec<Piece<'_>> = pieces(&scalar.text).collect();
        if let ([Piece::Token(index)], Style::Plain) = (found.as_slice(), scalar.style)
            && let Some(placeholder) = self.rendered.placeholder(*index)
        {
            self.typed_origins(&placeholder.value, &placeholder.place, pointer.to_owned());
            return placeholder.value.to_json();
        }
        let place = self.place(&span);
        if found.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            self.note(pointer, place, Vec::new());
            let kind = TreeKind::Scalar(scalar);
            let node = self.resolve(Tree { span, kind });
            return node.map_or(Json::Null, |node| node.to_json());
        }
        match text(&scalar.text, self.rendered, scalar.style) {
            Ok((text, sources)) => {
                self.note(pointer, place, sources);
                text.into()
            }
            Err(problems) => {
                self.problems.extend(problems);
                Json::Null
            }
        }
    }

    fn note(&mut self, pointer: &str, template: Span, values: Vec<Span>) {
        self.origins
            .insert(pointer.to_owned(), Origin { template, values });
    }

    fn typed_origins(&mut self, value: &Value, place: &Span, pointer: String) {
        match &value.data {
            Data::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.typed_origins(item, place, format!("{pointer}/{index}"));
                }
            }
            Data::Map(entries) => {
                for (key, item) in entries.iter() {
                    self.typed_origins(item, place, child(&pointer, key));
                }
            }
            _ => {}
        }
        let values = value.sources.to_vec();
        let template = place.clone();
        self.origins.insert(pointer, Origin { template, values });
    }

    /// Tokens in names of anchors and aliases never become values. (Tags and directives are refused by
    /// the parser; in a comment a token may stand.)
    fn stray_tokens(&mut self, trees: &[Tree]) {
        let mut scalars = Vec::new();
        trees
            .iter()
            .for_each(|tree| scalar_ranges(tree, &mut scalars));
        scalars.sort_by_key(|range| range.start);
        for (index, range) in self.rendered.tokens() {
            let next = scalars.partition_point(|scalar| scalar.start <= range.start);
            let before = next.checked_sub(1).map(|index| &scalars[index]);
            if before.is_some_and(|scalar| scalar.end >= range.end) {
                continue;
            }
            let text = self.rendered.text();
            let line = text[..range.start]
                .rfind('\n')
                .map_or(0, |newline| newline + 1);
            let start = before.map_or(line, |scalar| scalar.end.clamp(line, range.start));
            let between = &text[start..range.start];
            let word = between
                .rsplit([' ', '\t', '[', '{', ','])
                .next()
                .unwrap_or_default();
            let Some(placeholder) = self.rendered.placeholder(index) else {
                continue;
            };
            if word.starts_with(['&', '*']) && !between.contains('#') {
                self.problems.push(
                    Diagnostic::error(NO_PLACE, "a value cannot be the name of an anchor")
                        .at(&placeholder.place, "")
                        .hint("write the name out"),
                );
            }
        }
    }
}

fn scalar_ranges(tree: &Tree, into: &mut Vec<std::ops::Range<usize>>) {
    match &tree.kind {
        TreeKind::Scalar(_) => into.push(tree.span.range()),
        TreeKind::List(items) => items.iter().for_each(|item| scalar_ranges(item, into)),
        TreeKind::Map(pairs) => {
            for (key, value) in pairs {
                scalar_ranges(key, into);
                scalar_ranges(value, into);
            }
        }
    }
}

/// The pointer of a key inside a map (RFC 6901).
fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A value as part of a text.
fn in_text(placeholder: &Placeholder, style: Style) -> Result<String, Diagnostic> {
    let value = &placeholder.value;
    let text = match &value.data {
        Data::String(text) => text.to_string(),
        Data::Bool(value) => value.to_string(),
        Data::Number(number) if !number.is_f64() => number.to_string(),
        _ => return Err(not_text(placeholder, value.type_name(), style)),
    };
    let refused = |c: &char| c.is_control() && (*c != '\n' || style != Style::Block);
    match text.chars().find(refused) {
        None => Ok(text),
        Some('\n') => Err(not_text(placeholder, "text of several lines", style)),
        Some(_) => Err(not_text(placeholder, "text with control characters", style)),
    }
}

fn not_text(placeholder: &Placeholder, what: &str, style: Style) -> Diagnostic {
    let Placeholder { value, place } = placeholder;
    let mut problem =
        Diagnostic::error(NOT_TEXT, format!("{what} cannot stand inside text")).at(place, "");
    if let Some(source) = value.sources.last() {
        problem = problem.at(source, "the value comes from here");
    }
    let tag = place.text();
    let inner = tag.trim_matches(['{', '}', '~']).trim();
    let argument = if inner.contains(char::is_whitespace) && !inner.starts_with('(') {
        format!("({inner})")
    } else {
        inner.to_owned()
    };
    problem = problem.hint(format!("`{{{{json {argument}}}}}` writes it as JSON"));
    if style == Style::Quoted {
        problem = problem.hint(format!("without quotes `{tag}` alone is the value itself"));
    }
    problem
}
