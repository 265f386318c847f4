//! `.dockerignore` by Docker's rules: anchored at the context, the last pattern that matches wins, `!` takes back,
//! `**` crosses folders, and what is below an ignored folder is ignored. Git's rules differ in all four. As BuildKit,
//! and unlike the old command line, `!**/*.rs` also finds files in folders that another pattern ignores.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{SourceFile, Span};
use crate::image::input_error::InputError;

/// The patterns of one file, in order.
#[derive(Debug, Default)]
pub(crate) struct DockerIgnore(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    takes_back: bool,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Char(char),
    /// `?`
    OneChar,
    /// `*`
    WithinName,
    /// `**/` or `**` in the middle: any folders, also none.
    Folders,
    /// `**` at the end.
    Everything,
    /// `[a-z]`, `[^a-z]`
    Class(bool, Vec<RangeInclusive<char>>),
}

impl DockerIgnore {
    /// Reads the file's text; `path` is shown in errors.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, InputError> {
        let file = SourceFile::new(path, text);
        let mut patterns = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let place = start..start + line.trim_end().len();
            start += line.len();
            let line = line.trim_start_matches('\u{feff}');
            if !line.starts_with('#')
                && let Some(pattern) = pattern(line.trim(), &file, place)?
            {
                patterns.push(pattern);
            }
        }
        Ok(Self(patterns))
    }

    /// Whether `path` (relative to the context, `/` between its parts) stays out of the context.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        let mut prefixes: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        prefixes.push(path);
        let mut ignored = false;
        for pattern in &self.0 {
            if pattern.takes_back == ignored
                && prefixes
                    .iter()
                    .any(|prefix| matches(&pattern.parts, prefix))
            {
                ignored = !pattern.takes_back;
            }
        }
        ignored
    }

    /// Whether something below an ignored folder may still be part of the context.
    pub(crate) fn takes_back(&self) -> bool {
        self.0.iter().any(|pattern| pattern.takes_back)
    }
}

fn pattern(
    line: &str,
    file: &Arc<SourceFile>,
    place: std::ops::Range<usize>,
) -> Result<Option<Pattern>, InputError> {
    let refuse = |reason: &str| InputError::IgnorePattern {
        pattern: line.to_owned(),
        reason: reason.to_owned(),
        place: Span::new(file, place.clone()),
    };
    let (takes_back, text) = match line.strip_prefix('!') {
        Some("") => return Err(refuse("`!` takes a pattern back, but none follows")),
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let text = cleaned(text);
    if text.is_empty() {
        return Ok(None);
    }
    let parts = parts(&text).ok_or_else(|| refuse("`[` or `\\` is not complete"))?;
    Ok(Some(Pattern { takes_back, parts }))
}

/// Without empty and `.` steps and with `..` as a step back (Go's `path.Clean`): `/a`, `a` and `./a/` are the same.
fn cleaned(text: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in text.split('/') {
        match step {
            "" | "." => {}
            ".." if steps.last().is_some_and(|last| *last != "..") => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    steps.join("/")
}

fn parts(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        parts.push(match char {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                if rest.peek().is_none() {
                    Part::Everything
                } else {
                    Part::Folders
                }
            }
            '*' => Part::WithinName,
            '?' => Part::OneChar,
            '[' => class(&mut rest)?,
            '\\' => Part::Char(rest.next()?),
            char => Part::Char(char),
        });
    }
    Some(parts)
}

fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Part> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match rest.next()? {
            ']' if !ranges.is_empty() => return Some(Part::Class(negated, ranges)),
            '\\' => rest.next()?,
            char => char,
        };
        let to = if rest.next_if_eq(&'-').is_some() {
            rest.next()?
        } else {
            from
        };
        ranges.push(from..=to);
    }
}

fn matches(parts: &[Part], text: &str) -> bool {
    let Some((first, others)) = parts.split_first() else {
        return text.is_empty();
    };
    let one = |allowed: &dyn Fn(char) -> bool| {
        let mut chars = text.chars();
        chars.next().is_some_and(allowed) && matches(others, chars.as_str())
    };
    match first {
        Part::Char(expected) => one(&|char| char == *expected),
        Part::OneChar => one(&|char| char != '/'),
        Part::Class(negated, ranges) => {
            one(&|char| char != '/' && ranges.iter().any(|range| range.contains(&char)) != *negated)
        }
        Part::WithinName => {
            let end = text.find('/').unwrap_or(text.len());
            (0..=end)
                .filter(|&at| text.is_char_boundary(at))
                .any(|at| matches(others, &text[at..]))
        }
        Part::Folders => {
            matches(others, text)
                || text
                    .match_indices('/')
                    .any(|(at, _)| matches(others, &text[at + 1..]))
        }
        Part::Everything => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_rules() {
        let table: &[(&str, &[&str], &[&str])] = &[
            // patterns, ignored, kept
            ("", &[], &["a"]),
            ("# a\n\n", &[], &["a", "# a"]),
            ("a", &["a", "a/b", "a/b/c"], &["b/a", "ab"]),
            ("/a/", &["a", "a/b"], &["b/a"]),
            ("./a/../b", &["b"], &["a"]),
            ("../a", &[], &["a"]),
            ("*.md", &["README.md"], &["docs/README.md", "md"]),
            (
                "*/temp*",
                &["x/temporary.txt", "x/temp"],
                &["temp", "x/y/temp"],
            ),
            ("**/temp", &["temp", "x/temp", "x/y/temp/z"], &["xtemp"]),
            ("**/*.go", &["a.go", "x/a.go"], &["a.gox"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["b", "a/bb"]),
            ("temp?", &["tempa"], &["temp", "temp/", "tempab"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[^a-c]x", &["dx"], &["ax", "/x"]),
            ("a\\*", &["a*"], &["ab"]),
            ("*\n!README.md", &["a", "a/README.md"], &["README.md"]),
            ("!README.md\n*", &["README.md"], &[]),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                &["a.md", "README-secret.md"],
                &["README.md"],
            ),
            ("a\n!a/keep", &["a", "a/x"], &["a/keep", "a/keep/x"]),
            ("*\n!**/*.rs", &["a/b.txt"], &["a/b.rs", "b.rs"]),
            ("  spaced  ", &["spaced"], &[]),
            ("a\r\nb\r\n", &["a", "b"], &["c"]),
            ("ünï*", &["ünïcode"], &["uni"]),
        ];
        for (text, ignored, kept) in table {
            let ignore = DockerIgnore::parse(Path::new(".dockerignore"), text).unwrap();
            for path in *ignored {
                assert!(ignore.ignores(path), "{text:?} must ignore {path}");
            }
            for path in *kept {
                assert!(!ignore.ignores(path), "{text:?} must keep {path}");
            }
        }
    }

    #[test]
    fn broken_patterns_are_shown_where_they_stand() {
        for (text, line) in [("a\n!\n", 2), ("[a-", 1), ("a\nb\n[]\n", 3), ("a\\", 1)] {
            let error = DockerIgnore::parse(Path::new(".dockerignore"), text).unwrap_err();
            let InputError::IgnorePattern { place, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!(place.position().line, line, "{text:?}");
        }
    }
}
