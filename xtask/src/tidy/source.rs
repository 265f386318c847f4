//! Which modules a Rust file names: paths that start with `crate` or `super`,
//! in `use` items and anywhere else, found in its tokens (not in its comments
//! and strings).

/// A path in the source, resolved to start at the root of the crate, or at an external crate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PathUse {
    /// Segments, as `["stack", "Stack"]` for `crate::stack::Stack`; glob and group ends are left out.
    pub(super) segments: Vec<String>,
    /// Whether it starts at the root of its own crate.
    pub(super) local: bool,
    /// Whether it is inside a module under `#[cfg(test)]`.
    pub(super) in_tests: bool,
    /// From 1.
    pub(super) line: usize,
}

/// All paths of two and more segments, and those of `use` items; `module` is the path of the file's own module.
pub(super) fn paths(text: &str, module: &[String]) -> Vec<PathUse> {
    let tokens = tokens(text);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        modules: Vec::new(),
        depth: 0,
        file_module: module,
        found: Vec::new(),
    };
    reader.read();
    reader.found
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Separator,
    Sign(char),
}

type Placed = (Token, usize);

/// Words and signs; comments, strings, characters and numbers' inner parts are skipped.
fn tokens(text: &str) -> Vec<Placed> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line) = (0, 1);
    let mut tokens = Vec::new();
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            '\'' => character_end(&chars, at),
            ':' if chars.get(at + 1) == Some(&':') => {
                tokens.push((Token::Separator, line));
                at + 2
            }
            c if is_word(c) => {
                let end = word_end(&chars, at);
                match raw_string_end(&chars, at, end) {
                    Some(end) => end,
                    None => {
                        tokens.push((Token::Word(chars[at..end].iter().collect()), line));
                        end
                    }
                }
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push((Token::Sign(c), line));
                }
                at + 1
            }
        };
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word_end(chars: &[char], start: usize) -> usize {
    let length = chars[start..].iter().take_while(|c| is_word(**c)).count();
    start + length
}

fn line_end(chars: &[char], start: usize) -> usize {
    let length = chars[start..].iter().take_while(|c| **c != '\n').count();
    start + length
}

/// Block comments nest.
fn comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `'a'`, `'\n'`, or the quote of a lifetime.
fn character_end(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => {
            let rest = &chars[(start + 3).min(chars.len())..];
            let length = rest.iter().take_while(|c| **c != '\'').count();
            (start + 4 + length).min(chars.len())
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}

/// The end of `r"…"`, `r#"…"#`, `br#"…"#` where the word at `start..end` is such a prefix.
fn raw_string_end(chars: &[char], start: usize, end: usize) -> Option<usize> {
    let prefix: String = chars[start..end].iter().collect();
    if !matches!(prefix.as_str(), "r" | "br" | "cr") {
        return None;
    }
    let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
    if chars.get(end + hashes) != Some(&'"') {
        return None;
    }
    let body = end + hashes + 1;
    let closes = |at: &usize| {
        chars[*at] == '"'
            && chars[at + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    let close = (body..chars.len()).find(closes).unwrap_or(chars.len());
    Some((close + 1 + hashes).min(chars.len()))
}

/// An inline module that is open: its name, the depth of its braces, whether it is for tests.
struct OpenModule {
    name: String,
    depth: usize,
    test: bool,
}

struct Reader<'a> {
    tokens: &'a [Placed],
    at: usize,
    modules: Vec<OpenModule>,
    depth: usize,
    file_module: &'a [String],
    found: Vec<PathUse>,
}

impl Reader<'_> {
    fn read(&mut self) {
        let mut test = false;
        while let Some((token, _)) = self.tokens.get(self.at) {
            match token {
                Token::Sign('#') if self.is_cfg_test() => {
                    test = true;
                    self.at += 1;
                }
                Token::Word(word) if word == "mod" => self.open_module(&mut test),
                Token::Word(word) if word == "use" => {
                    self.at += 1;
                    self.tree(&[]);
                    test = false;
                }
                Token::Word(_) => self.path(),
                Token::Sign('{') => {
                    self.depth += 1;
                    self.at += 1;
                }
                Token::Sign('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    while self
                        .modules
                        .last()
                        .is_some_and(|open| open.depth > self.depth)
                    {
                        self.modules.pop();
                    }
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// `#[cfg(test)]`
    fn is_cfg_test(&self) -> bool {
        let words = ["cfg", "test"];
        let rest = &self.tokens[self.at..];
        let signs = [(1, '['), (3, '('), (5, ')')];
        let word =
            |at: usize, word: &str| matches!(rest.get(at), Some((Token::Word(w), _)) if w == word);
        signs
            .iter()
            .all(|(at, sign)| matches!(rest.get(*at), Some((Token::Sign(s), _)) if s == sign))
            && word(2, words[0])
            && word(4, words[1])
    }

    /// `mod NAME {` opens one; `mod NAME;` is another file.
    fn open_module(&mut self, test: &mut bool) {
        let name = self.word(self.at + 1).map(String::from);
        self.at += 2;
        if let (Some(name), Some((Token::Sign('{'), _))) = (name, self.tokens.get(self.at)) {
            self.depth += 1;
            self.at += 1;
            self.modules.push(OpenModule {
                name,
                depth: self.depth,
                test: *test,
            });
        }
        *test = false;
    }

    fn word(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at) {
            Some((Token::Word(word), _)) => Some(word),
            _ => None,
        }
    }

    /// A path in code: `a::b::c`.
    fn path(&mut self) {
        let line = self.tokens[self.at].1;
        let mut segments = Vec::new();
        while let Some(word) = self.word(self.at) {
            segments.push(word.to_owned());
            self.at += 1;
            if !matches!(self.tokens.get(self.at), Some((Token::Separator, _))) {
                break;
            }
            self.at += 1;
        }
        if segments.len() > 1 {
            self.add(segments, line);
        }
    }

    /// A tree of a `use` item: `a::{b, c::d as e, *}`.
    fn tree(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        let mut line = self.tokens.get(self.at).map_or(0, |token| token.1);
        loop {
            match self.tokens.get(self.at) {
                Some((Token::Word(word), place)) if word == "as" => {
                    self.at += 2;
                    line = *place;
                }
                Some((Token::Word(word), place)) => {
                    segments.push(word.clone());
                    line = *place;
                    self.at += 1;
                }
                Some((Token::Separator, _)) => self.at += 1,
                Some((Token::Sign('*'), _)) => self.at += 1,
                Some((Token::Sign('{'), _)) => {
                    self.at += 1;
                    return self.group(&segments);
                }
                _ => break,
            }
        }
        if segments.len() > prefix.len() || !prefix.is_empty() {
            self.add(segments, line);
        }
    }

    fn group(&mut self, prefix: &[String]) {
        loop {
            match self.tokens.get(self.at) {
                None => return,
                Some((Token::Sign('}'), _)) => {
                    self.at += 1;
                    return;
                }
                Some((Token::Sign(','), _)) => self.at += 1,
                Some((Token::Word(_) | Token::Separator | Token::Sign('*' | '{'), _)) => {
                    self.tree(prefix);
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// Resolves `crate`, `self` and `super` and keeps the path.
    fn add(&mut self, segments: Vec<String>, line: usize) {
        let mut module: Vec<String> = self.file_module.to_vec();
        module.extend(self.modules.iter().map(|open| open.name.clone()));
        let supers = segments.iter().take_while(|word| *word == "super").count();
        let (segments, local) = match segments.first().map(String::as_str) {
            Some("crate") => (segments[1..].to_vec(), true),
            Some("self") if segments.len() > 1 => (join(&module, &segments[1..]), true),
            Some("super") => {
                let parent = &module[..module.len().saturating_sub(supers)];
                (join(parent, &segments[supers..]), true)
            }
            _ => (segments, false),
        };
        self.found.push(PathUse {
            segments,
            local,
            in_tests: self.modules.iter().any(|open| open.test),
            line,
        });
    }
}

fn join(module: &[String], rest: &[String]) -> Vec<String> {
    module.iter().chain(rest).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Local paths as `line:a::b`, with ` (test)` where they are in tests.
    fn local(text: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
        let shown = |path: PathUse| {
            let tests = if path.in_tests { " (test)" } else { "" };
            format!("{}:{}{tests}", path.line, path.segments.join("::"))
        };
        let paths = paths(text, &module).into_iter().filter(|path| path.local);
        paths.map(shown).collect()
    }

    #[test]
    fn finds_use_items_groups_and_paths_in_code() {
        let text = "use crate::stack::{Stack, name::{EnvName, *}};\n\
                    use crate::{event::Event as E,\n  yaml};\n\
                    fn f() -> crate::plan::Plan { crate::ui::show(1) }\n";
        let expected = [
            "1:stack::Stack",
            "1:stack::name::EnvName",
            "1:stack::name",
            "2:event::Event",
            "3:yaml",
            "4:plan::Plan",
            "4:ui::show",
        ];
        assert_eq!(local(text, &["x"]), expected);
    }

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        let text = "// crate::a::b\n/* crate::a /* nested */ crate::b */\n\
                    let x = \"crate::a::b \\\" crate::c::d\"; let y = r#\"crate::e \" ::f\"#;\n\
                    let q = '\"'; let z: &'static str = crate::real::Z; let e = '\\''; crate::end::E\n";
        assert_eq!(local(text, &[]), ["4:real::Z", "4:end::E"]);
    }

    #[test]
    fn super_and_self_are_resolved_also_in_inline_modules() {
        let text = "use super::graph::Graph;\nuse super::super::stack::Stack;\nuse self::inner::X;\n\
                    #[cfg(test)]\nmod tests {\n  use super::*;\n  use super::super::graph::Graph;\n}\n\
                    use super::after::Y;\n";
        let expected = [
            "1:plan::graph::Graph",
            "2:stack::Stack",
            "3:plan::diff::inner::X",
            "6:plan::diff (test)",
            "7:plan::graph::Graph (test)",
            "9:plan::after::Y",
        ];
        assert_eq!(local(text, &["plan", "diff"]), expected);
    }

    #[test]
    fn external_paths_are_kept_apart() {
        let found = paths("use std::fs;\nfn f() { tokio::spawn(x) }", &[]);
        let names: Vec<String> = found.iter().map(|path| path.segments.join("::")).collect();
        assert_eq!(names, ["std::fs", "tokio::spawn"]);
        assert!(found.iter().all(|path| !path.local));
    }
}
