//! Events of the YAML parser → [`Tree`]s: aliases expanded, `<<` merged, duplicate keys refused.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};

use crate::diagnostic::{Code, Diagnostic, SourceFile, Span};
use crate::secret;

use super::tree::{Scalar, Style, Tree, TreeKind};

/// The text is no YAML.
pub(super) const SYNTAX: Code = Code::new("S0101");
const DUPLICATE_KEY: Code = Code::new("S0102");
const RESERVED: Code = Code::new("S0104");
const TOO_LARGE: Code = Code::new("S0105");
const TAG: Code = Code::new("S0106");

/// Nodes of one file after its aliases are expanded: far beyond any manifest, far below what hurts.
const MAX_NODES: usize = 200_000;
/// Nesting; deeper files are an attack or a mistake.
const MAX_DEPTH: usize = 64;

/// What to do with the private-use characters that placeholders and secrets are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The text comes from a user.
    Refused,
    /// The text was rendered from templates that are already checked; keys with tokens are not
    /// compared, because only their values can be duplicates.
    Allowed,
}

/// Parses all documents of a file; empty ones are left out.
pub fn parse(file: &Arc<SourceFile>, reserved: Reserved) -> Result<Vec<Tree>, Diagnostic> {
    if reserved == Reserved::Refused {
        refuse_reserved(file)?;
    }
    let options = granit_parser::options! {
        emit_comments: false,
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let parser = Parser::new_from_str_with_options(file.text(), options);
    Builder {
        file,
        parser,
        anchors: HashMap::new(),
        nodes: 0,
    }
    .documents()
}

fn refuse_reserved(file: &Arc<SourceFile>) -> Result<(), Diagnostic> {
    match file
        .text()
        .char_indices()
        .find(|(_, c)| secret::RESERVED.contains(c))
    {
        None => Ok(()),
        Some((at, c)) => Err(Diagnostic::error(
            RESERVED,
            format!("the character U+{:X} is reserved", u32::from(c)),
        )
        .at(&Span::new(file, at..at + c.len_utf8()), "")
        .hint("remove it: stackctl uses characters of this private area itself")),
    }
}

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Tree>,
    nodes: usize,
}

type Step<'a> = (Event<'a>, Span);

impl<'a> Builder<'a> {
    fn documents(mut self) -> Result<Vec<Tree>, Diagnostic> {
        let mut documents = Vec::new();
        while let Some((event, span)) = self.next()? {
            match event {
                Event::DocumentStart(..) => self.anchors.clear(),
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                event => {
                    let tree = self.node(event, span)?;
                    let empty = matches!(&tree.kind, TreeKind::Scalar(scalar)
                        if scalar.style == Style::Plain && scalar.text.is_empty());
                    if !empty {
                        documents.push(tree);
                    }
                }
            }
        }
        Ok(documents)
    }

    fn next(&mut self) -> Result<Option<Step<'a>>, Diagnostic> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                let range = span.byte_range().unwrap_or(0..0);
                Ok(Some((event, Span::new(self.file, range))))
            }
            Some(Err(error)) => Err(self.syntax(&error)),
        }
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let at = error
            .marker()
            .byte_offset()
            .unwrap_or(self.file.text().len());
        let width = self.file.text()[at..]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
        let line_start = self.file.text()[..at]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let problem = Diagnostic::error(SYNTAX, "this is not valid YAML").at(
            &Span::new(self.file, at..at + width),
            error.kind().to_string(),
        );
        if self.file.text()[line_start..].starts_with('\t') {
            problem.hint("indent with spaces: YAML does not allow tabs")
        } else {
            problem
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Tree, Diagnostic> {
        self.count(&span)?;
        if let Some(tag) = event.tag() {
            return Err(
                Diagnostic::error(TAG, format!("the tag {tag} is not supported"))
                    .at(&span, "")
                    .hint("remove it; quote the value where it is text"),
            );
        }
        let anchor = event.anchor_id();
        let tree = match event {
            Event::Scalar(text, style, ..) => {
                let scalar = Scalar {
                    text: text.into_owned(),
                    style: style_of(style),
                };
                Tree {
                    span,
                    kind: TreeKind::Scalar(scalar),
                }
            }
            Event::SequenceStart(..) => self.list(&span)?,
            Event::MappingStart(..) => self.map(&span)?,
            Event::Alias(id) => self.alias(id, span)?,
            other => {
                return Err(
                    Diagnostic::error(SYNTAX, format!("unexpected {other:?}")).at(&span, "")
                );
            }
        };
        if let Some(id) = anchor {
            self.anchors.insert(id, tree.clone());
        }
        Ok(tree)
    }

    fn list(&mut self, start: &Span) -> Result<Tree, Diagnostic> {
        let mut items = Vec::new();
        loop {
            match self.following(start)? {
                (Event::SequenceEnd, end) => {
                    let span = Span::new(self.file, start.range().start..end.range().end);
                    return Ok(Tree {
                        span,
                        kind: TreeKind::List(items),
                    });
                }
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self, start: &Span) -> Result<Tree, Diagnostic> {
        let mut pairs: Vec<(Tree, Tree)> = Vec::new();
        let mut merged = Vec::new();
        let mut seen = HashMap::new();
        loop {
            let key = match self.following(start)? {
                (Event::MappingEnd, end) => {
                    let span = Span::new(
                        self.file,
                        start.range().start..end.range().end.max(start.range().end),
                    );
                    merge(&mut pairs, merged);
                    return Ok(Tree {
                        span,
                        kind: TreeKind::Map(pairs),
                    });
                }
                (event, span) => self.node(event, span)?,
            };
            let (event, span) = self.following(start)?;
            let value = self.node(event, span)?;
            if is_merge_key(&key) {
                merged.extend(merge_sources(value)?);
            } else {
                refuse_duplicate(&mut seen, &key)?;
                pairs.push((key, value));
            }
        }
    }

    fn following(&mut self, start: &Span) -> Result<Step<'a>, Diagnostic> {
        self.next()?.ok_or_else(|| {
            Diagnostic::error(SYNTAX, "the file ends too early").at(start, "this is not closed")
        })
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Tree, Diagnostic> {
        let Some(target) = self.anchors.get(&id).cloned() else {
            return Err(Diagnostic::error(SYNTAX, "an alias inside its own anchor").at(&span, ""));
        };
        self.nodes += size(&target);
        self.count(&span)?;
        Ok(target)
    }

    fn count(&mut self, span: &Span) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Diagnostic::error(
                TOO_LARGE,
                format!("more than {MAX_NODES} values in one file"),
            )
            .at(span, ""));
        }
        Ok(())
    }
}

fn style_of(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
        ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
    }
}

fn size(tree: &Tree) -> usize {
    match &tree.kind {
        TreeKind::Scalar(_) => 1,
        TreeKind::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        TreeKind::Map(pairs) => {
            1 + pairs
                .iter()
                .map(|(key, value)| size(key) + size(value))
                .sum::<usize>()
        }
    }
}

fn is_merge_key(key: &Tree) -> bool {
    matches!(&key.kind, TreeKind::Scalar(scalar) if scalar.style == Style::Plain && scalar.text == "<<")
}

/// The maps that a `<<` names, nearest first.
fn merge_sources(value: Tree) -> Result<Vec<(Tree, Tree)>, Diagnostic> {
    let refuse = |span: &Span| {
        Err(Diagnostic::error(SYNTAX, "`<<` merges a map or a list of maps").at(span, ""))
    };
    match value.kind {
        TreeKind::Map(pairs) => Ok(pairs),
        TreeKind::List(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.kind {
                    TreeKind::Map(pairs) => all.extend(pairs),
                    _ => return refuse(&item.span),
                }
            }
            Ok(all)
        }
        TreeKind::Scalar(_) => refuse(&value.span),
    }
}

/// Own keys win over merged ones, earlier merged ones over later ones.
fn merge(pairs: &mut Vec<(Tree, Tree)>, merged: Vec<(Tree, Tree)>) {
    for (key, value) in merged {
        if !pairs.iter().any(|(own, _)| own.kind == key.kind) {
            pairs.push((key, value));
        }
    }
}

/// Notes a key; a second one of the same text is refused. Keys with tokens are compared once they have values.
fn refuse_duplicate(seen: &mut HashMap<String, Span>, key: &Tree) -> Result<(), Diagnostic> {
    let TreeKind::Scalar(scalar) = &key.kind else {
        return Ok(());
    };
    if scalar.text.chars().any(|c| secret::RESERVED.contains(&c)) {
        return Ok(());
    }
    match seen.insert(scalar.text.clone(), key.span.clone()) {
        None => Ok(()),
        Some(first) => Err(Diagnostic::error(
            DUPLICATE_KEY,
            format!("the key `{}` is there twice", scalar.text),
        )
        .at(&key.span, "again here")
        .at(&first, "first here")
        .hint("remove one of the two")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Node, document};

    fn parsed(text: &str) -> Result<Node, Vec<Diagnostic>> {
        document(&SourceFile::new("test.yaml", text))
    }

    fn json(text: &str) -> serde_json::Value {
        parsed(text).unwrap().to_json()
    }

    fn error(text: &str) -> Diagnostic {
        parsed(text).expect_err(text).remove(0)
    }

    #[test]
    fn values_have_types_and_places() {
        let node = parsed("a: 1\nb: [x, 'yes', null]\nc: |\n  two\n  lines\n").unwrap();
        assert_eq!(
            node.to_json(),
            serde_json::json!({"a": 1, "b": ["x", "yes", null], "c": "two\nlines\n"})
        );
        assert_eq!(
            node.at(["b", "1"]).unwrap().span.to_string(),
            "test.yaml:2:8"
        );
        assert_eq!(json("# nothing\n"), serde_json::json!({}));
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded() {
        let text = "base: &b {x: 1, z: 2}\nmore: {<<: *b, z: 3}\nagain: *b\n";
        assert_eq!(
            json(text),
            serde_json::json!({"base": {"x": 1, "z": 2}, "more": {"x": 1, "z": 3}, "again": {"x": 1, "z": 2}})
        );
        assert_eq!(
            json("'<<': 1"),
            serde_json::json!({"<<": 1}),
            "a quoted << is a key"
        );
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, code, place, words) in [
            ("a: [1\n", "S0101", "test.yaml:1:4", "not valid YAML"),
            (
                "a: 1\na: 2\n",
                "S0102",
                "test.yaml:2:1",
                "`a` is there twice",
            ),
            (
                "a: yes\n",
                "S0103",
                "test.yaml:1:4",
                "`yes` means different things",
            ),
            (
                "a: \u{F0010}\n",
                "S0104",
                "test.yaml:1:4",
                "U+F0010 is reserved",
            ),
            ("a: !!str 1\n", "S0106", "test.yaml:1:", "is not supported"),
            ("[1]: 2\n", "S0107", "test.yaml:1:1", "cannot be a key"),
            (
                "a: 1\n---\nb: 1\n",
                "S0101",
                "test.yaml:3:1",
                "more than one",
            ),
            ("<<: 1\n", "S0101", "test.yaml:1:5", "merges a map"),
        ] {
            let problem = error(text);
            assert_eq!(problem.code.as_str(), code, "{text:?}: {problem:?}");
            assert!(
                problem.labels[0].span.to_string().starts_with(place),
                "{text:?}: {problem:?}"
            );
            assert!(problem.message.contains(words), "{text:?}: {problem:?}");
        }
        assert!(error("a:\n\tb: 1\n").hints[0].contains("tabs"));
    }

    #[test]
    fn all_ambiguous_scalars_are_reported_at_once() {
        assert_eq!(parsed("a: yes\nb: 0644\nc: on\n").unwrap_err().len(), 3);
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert_eq!(error(&text).code.as_str(), "S0105");
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(text in "[-a-z0-9:\\[\\]{}&*!|>'\"#%@` \\n\\t,?~<é]{0,80}") {
            let _ = parsed(&text);
        }
    }
}
