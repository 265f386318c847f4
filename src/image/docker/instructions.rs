//! Where the instructions of a Dockerfile stand: continued lines, comments, the escape directive, here-documents.
//!
//! The engine parses Dockerfiles; this finds the place that one of its messages is about.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{SourceFile, Span};

/// The instructions of one file, in order.
#[derive(Debug)]
pub(super) struct Instructions {
    file: Arc<SourceFile>,
    list: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug)]
pub(super) struct Instruction {
    /// In upper case: `RUN`.
    pub keyword: String,
    /// What follows the keyword: continued lines joined, comments left out.
    pub rest: String,
    /// The stage it is in, from 0; instructions before the first `FROM` are in stage 0, too.
    pub stage: usize,
    /// From the keyword to the end of its last line.
    range: Range<usize>,
}

/// A `FROM` and what follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stage<'a> {
    /// What comes after `AS`.
    pub name: Option<&'a str>,
    /// The image or the stage it starts from.
    pub base: &'a str,
}

impl Instructions {
    /// Reads the text; what is no instruction to us is none to the engine either.
    pub(super) fn read(file: &Arc<SourceFile>) -> Self {
        let mut reader = Reader {
            escape: escape(file.text()),
            list: Vec::new(),
            stages: 0,
        };
        reader.read(file.text());
        Self {
            file: Arc::clone(file),
            list: reader.list,
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Instruction> {
        self.list.iter()
    }

    /// The instruction of a step of the classic builder, which counts them from 1.
    pub(super) fn step(&self, number: usize) -> Option<&Instruction> {
        self.list.get(number.checked_sub(1)?)
    }

    /// The stages, first to last.
    pub(super) fn stages(&self) -> Vec<Stage<'_>> {
        let from = self.iter().filter(|found| found.keyword == "FROM");
        from.map(|found| {
            let mut words = found.words();
            let base = words.next().unwrap_or_default();
            let name = words
                .next()
                .filter(|word| word.eq_ignore_ascii_case("as"))
                .and_then(|_| words.next());
            Stage { name, base }
        })
        .collect()
    }

    /// The first line of an instruction: a `RUN` may be as long as a page.
    pub(super) fn span(&self, instruction: &Instruction) -> Span {
        let text = &self.file.text()[instruction.range.clone()];
        let length = text.lines().next().map_or(0, |line| line.trim_end().len());
        let start = instruction.range.start;
        Span::new(&self.file, start..start + length)
    }

    /// The first place of `word` in an instruction, else its first line.
    pub(super) fn word(&self, instruction: &Instruction, word: &str) -> Span {
        let text = &self.file.text()[instruction.range.clone()];
        let whole = |at: &usize| {
            let bounds =
                |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || "\"'[],=".contains(c));
            bounds(text[..*at].chars().next_back())
                && bounds(text[at + word.len()..].chars().next())
        };
        let found = (!word.is_empty())
            .then(|| text.match_indices(word).map(|(at, _)| at).find(whole))
            .flatten();
        match found {
            Some(at) => {
                let start = instruction.range.start + at;
                Span::new(&self.file, start..start + word.len())
            }
            None => self.span(instruction),
        }
    }

    /// A whole line, from 1.
    pub(super) fn line(&self, number: usize) -> Option<Span> {
        let mut start = 0;
        for (index, line) in self.file.text().split_inclusive('\n').enumerate() {
            if index + 1 == number {
                let end = start + line.trim_end().len();
                let start = start + (line.len() - line.trim_start().len());
                return Some(Span::new(&self.file, start.min(end)..end));
            }
            start += line.len();
        }
        None
    }
}

impl Instruction {
    /// The words after the keyword that are no flags.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.rest
            .split_whitespace()
            .skip_while(|word| word.starts_with("--"))
    }

    /// The value of `--NAME=value`.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.rest
            .split_whitespace()
            .take_while(|word| word.starts_with("--"))
            .find_map(|word| {
                let (flag, value) = word[2..].split_once('=').unwrap_or((&word[2..], ""));
                flag.eq_ignore_ascii_case(name).then_some(value)
            })
    }

    /// Keyword and rest on one line, white space reduced.
    pub(super) fn plain(&self) -> String {
        let mut text = self.keyword.clone();
        for word in self.rest.split_whitespace() {
            text.push(' ');
            text.push_str(word);
        }
        text
    }
}

struct Reader {
    escape: char,
    list: Vec<Instruction>,
    stages: usize,
}

impl Reader {
    fn read(&mut self, text: &str) {
        let mut lines = Lines { text, at: 0 };
        while let Some((start, line)) = lines.next() {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let indent = text[start..].find(line).unwrap_or(0);
            let mut joined = String::new();
            let mut end = start + indent + line.len();
            let mut last = line;
            while let Some(continued) = last.strip_suffix(self.escape) {
                joined.push_str(continued);
                joined.push(' ');
                last = "";
                // Comments and blank lines in between end nothing.
                for (start, line) in lines.by_ref() {
                    let trimmed = line.trim();
                    if !trimmed.is_empty() && !trimmed.starts_with('#') {
                        end = start + line.trim_end().len();
                        last = trimmed;
                        break;
                    }
                }
            }
            joined.push_str(last);
            for document in here_documents(&joined) {
                end = document.skip(&mut lines).unwrap_or(end);
            }
            self.add(&joined, start + indent..end);
        }
    }

    fn add(&mut self, joined: &str, range: Range<usize>) {
        let (keyword, rest) = joined
            .split_once(char::is_whitespace)
            .unwrap_or((joined, ""));
        let keyword = keyword.to_ascii_uppercase();
        if keyword == "FROM" {
            self.stages += 1;
        }
        self.list.push(Instruction {
            keyword,
            rest: rest.trim().to_owned(),
            stage: self.stages.saturating_sub(1),
            range,
        });
    }
}

struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    /// Offset and text without the line break.
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.text[self.at..].split_inclusive('\n').next()?;
        let start = self.at;
        self.at += line.len();
        Some((start, line.trim_end_matches(['\n', '\r'])))
    }
}

/// `<<EOF`, `<<-EOF`, `<<"EOF"`
struct HereDocument {
    end: String,
    tabs: bool,
}

impl HereDocument {
    /// Returns where its last line ends.
    fn skip(&self, lines: &mut Lines<'_>) -> Option<usize> {
        lines
            .find(|(_, line)| match self.tabs {
                true => line.trim_start_matches('\t') == self.end,
                false => *line == self.end,
            })
            .map(|(start, line)| start + line.len())
    }
}

fn here_documents(joined: &str) -> Vec<HereDocument> {
    let keyword = joined.split_whitespace().next().unwrap_or_default();
    if !["RUN", "COPY", "ADD"].contains(&keyword.to_ascii_uppercase().as_str()) {
        return Vec::new();
    }
    joined
        .split_whitespace()
        .filter_map(|word| {
            let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
            let rest = rest
                .strip_prefix("<<")
                .filter(|rest| !rest.starts_with('<'))?;
            let (tabs, name) = match rest.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, rest),
            };
            let name = name.trim_matches(['"', '\'']);
            let plain = |c: char| c.is_alphanumeric() || c == '_';
            (!name.is_empty() && name.chars().all(plain)).then(|| HereDocument {
                end: name.to_owned(),
                tabs,
            })
        })
        .collect()
}

/// `# escape=` among the directives, which come before everything else.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let Some((key, value)) = line
            .trim_start_matches('\u{feff}')
            .trim()
            .strip_prefix('#')
            .and_then(|comment| comment.split_once('='))
        else {
            break;
        };
        if key.trim().eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Instructions {
        Instructions::read(&SourceFile::new("Dockerfile", text))
    }

    fn listed(text: &str) -> Vec<(usize, String)> {
        let found = read(text);
        found
            .iter()
            .map(|instruction| {
                let line = found.span(instruction).position().line;
                (line, instruction.plain())
            })
            .collect()
    }

    fn expect(text: &str, expected: &[(usize, &str)]) {
        let found = listed(text);
        let found: Vec<(usize, &str)> = found
            .iter()
            .map(|(line, text)| (*line, text.as_str()))
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn instructions_are_found_where_they_stand() {
        expect(
            "# syntax\nARG A=1\nFROM --platform=linux/amd64 r.example.com/base:1 AS b\n\nRUN a \\\n  # note\n  b \\\n\n  c\nfrom debian\nCOPY --from=b x y\n",
            &[
                (2, "ARG A=1"),
                (3, "FROM --platform=linux/amd64 r.example.com/base:1 AS b"),
                (5, "RUN a b c"),
                (10, "FROM debian"),
                (11, "COPY --from=b x y"),
            ],
        );
        expect(
            "# escape=`\nRUN a `\nb\nRUN c \\\nRUN d",
            &[(2, "RUN a b"), (4, "RUN c \\"), (5, "RUN d")],
        );
        expect(
            "# a comment = no directive\n\n# escape=`\nRUN a \\\nb\n",
            &[(4, "RUN a b")],
        );
        expect(
            "FROM a\r\nRUN b \\\r\n  c\r\nRUN d",
            &[(1, "FROM a"), (2, "RUN b c"), (4, "RUN d")],
        );
        expect("RUN a \\", &[(1, "RUN a")]);
        expect("", &[]);
    }

    #[test]
    fn here_documents_hold_no_instructions() {
        expect(
            "FROM a\nRUN <<EOF\nFROM b\nEOF\nCOPY <<-\"X\" <<Y /to/\n\tRUN x\n\tX\nRUN y\nY\nRUN z <<< w\nRUN v\n",
            &[
                (1, "FROM a"),
                (2, "RUN <<EOF"),
                (5, "COPY <<-\"X\" <<Y /to/"),
                (10, "RUN z <<< w"),
                (11, "RUN v"),
            ],
        );
    }

    #[test]
    fn stages_words_and_flags_are_read() {
        let found = read(
            "FROM --platform=$P base AS one\nCOPY --from=zero --chown=1 [\"x\", \"/y\"]\nFROM one\n",
        );
        assert_eq!(
            found.stages(),
            [
                Stage {
                    name: Some("one"),
                    base: "base"
                },
                Stage {
                    name: None,
                    base: "one"
                },
            ]
        );
        let copy = found.step(2).unwrap();
        assert_eq!(copy.flag("from"), Some("zero"));
        assert_eq!(copy.flag("link"), None);
        assert_eq!(copy.words().next(), Some("[\"x\","));
        assert_eq!((copy.stage, found.step(3).unwrap().stage), (0, 1));
        assert_eq!(found.word(copy, "zero").position().column, 13);
        assert_eq!(found.word(copy, "x").text(), "x");
        assert_eq!(found.word(copy, "nowhere").text(), found.span(copy).text());
        assert_eq!(found.line(3).unwrap().text(), "FROM one");
        assert!(found.line(9).is_none() && found.step(0).is_none());
    }
}
