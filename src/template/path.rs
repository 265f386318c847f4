//! `../a.b` as text → its steps, each with its place in the text.

use std::ops::Range;

use super::ast::Origin;

/// A path as it is written; ranges are bytes of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub origin: Origin,
    pub steps: Vec<(String, Range<usize>)>,
}

/// Reads a path that Handlebars' grammar has accepted.
pub(super) fn parse(text: &str) -> Written {
    let mut at = 0;
    let mut eat = |prefix: &str| {
        let found = text[at..].starts_with(prefix);
        at += if found { prefix.len() } else { 0 };
        found
    };
    let _current = eat("./") || eat("this.") || eat("this/");
    let root = eat("@root.") || eat("@root/");
    let local = !root && eat("@");
    let mut up = 0;
    while eat("../") || eat("...") {
        up += 1;
    }
    let mut steps = items(text, at);
    let origin = if root {
        Origin::Root
    } else if local && !steps.is_empty() {
        match steps.remove(0).0 {
            name if name == "root" => Origin::Root,
            name => Origin::Local(up, name),
        }
    } else {
        Origin::This(up)
    };
    Written { origin, steps }
}

/// The keys from `at` on; `this` names the value itself.
fn items(text: &str, mut at: usize) -> Vec<(String, Range<usize>)> {
    let mut items = Vec::new();
    while at < text.len() {
        let rest = &text[at..];
        let (name, length) = match rest.strip_prefix('[') {
            Some(raw) => {
                let end = raw.find(']').unwrap_or(raw.len());
                (&raw[..end], (end + 2).min(rest.len()))
            }
            None => {
                let end = rest.find(['.', '/']).unwrap_or(rest.len());
                (&rest[..end], end)
            }
        };
        if name != "this" || rest.starts_with('[') {
            items.push((name.to_owned(), at..at + length));
        }
        at += length + 1;
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_handlebars_has_them() {
        for (text, origin, steps) in [
            ("a", Origin::This(0), &["a"][..]),
            ("a.b/c", Origin::This(0), &["a", "b", "c"]),
            ("this", Origin::This(0), &[]),
            ("this.a", Origin::This(0), &["a"]),
            ("./a", Origin::This(0), &["a"]),
            ("../a", Origin::This(1), &["a"]),
            ("../../this", Origin::This(2), &[]),
            ("a.[b.c].0", Origin::This(0), &["a", "b.c", "0"]),
            ("[this]", Origin::This(0), &["this"]),
            ("@root.a", Origin::Root, &["a"]),
            ("@root", Origin::Root, &[]),
            ("@key", Origin::Local(0, "key".into()), &[]),
            ("@../index", Origin::Local(1, "index".into()), &[]),
        ] {
            let written = parse(text);
            assert_eq!(written.origin, origin, "{text}");
            let names: Vec<&str> = written
                .steps
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(names, steps, "{text}");
        }
        let steps = parse("ab.[c d].e").steps;
        assert_eq!(
            [&steps[0].1, &steps[1].1, &steps[2].1],
            [&(0..2), &(3..8), &(9..10)]
        );
    }
}
