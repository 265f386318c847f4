//! Where literal text of a template stands: Handlebars cuts whitespace off at both ends, takes the
//! backslashes out that escape a tag, and tells places only roughly.

use super::ast::Run;

/// The runs of `text`, an element that Handlebars says is at `at` of `source`.
pub(super) fn runs(text: &str, source: &str, at: usize) -> Vec<Run> {
    let runs = match text.find(|c: char| !c.is_whitespace()) {
        None => blank(text, source, at),
        Some(blank) => {
            // `at` is the first character, or the first that is no whitespace.
            let rest = &source[at..];
            let skipped = rest.len() - rest.trim_start().len();
            align(text, source, (at + skipped).saturating_sub(blank))
        }
    };
    runs.unwrap_or_else(|| {
        vec![Run {
            text: text.to_owned(),
            place: at..at,
        }]
    })
}

/// Whitespace alone has, for Handlebars, the place of the tag that follows it.
fn blank(text: &str, source: &str, next: usize) -> Option<Vec<Run>> {
    let before = source[..next].trim_end().len();
    let start = before + source[before..next].rfind(text)?;
    Some(vec![Run {
        text: text.to_owned(),
        place: start..start + text.len(),
    }])
}

/// Cuts `text` into runs that stand in `source` from `start` on, with nothing but backslashes between.
fn align(text: &str, source: &str, start: usize) -> Option<Vec<Run>> {
    let mut runs = Vec::new();
    let (mut text, mut at) = (text, start);
    while !text.is_empty() {
        let rest = source.get(at..)?;
        let same = common_prefix(text, rest);
        if same > 0 {
            runs.push(Run {
                text: text[..same].to_owned(),
                place: at..at + same,
            });
        } else if !rest.starts_with('\\') {
            return None;
        }
        text = &text[same..];
        at += same + usize::from(!text.is_empty());
    }
    Some(runs)
}

fn common_prefix(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_where_it_stands() {
        for (text, source, at, expected) in [
            ("a: b", "a: b{{c}}", 0, &[("a: b", 0)][..]),
            ("\n  b", "{{a}}\n  b", 8, &[("\n  b", 5)]),
            ("  b", "{{#if a}}\n  b", 12, &[("  b", 10)]),
            ("a {{b}} c", "a \\{{b}} c", 0, &[("a ", 0), ("{{b}} c", 3)]),
            ("{{b}}", "x{{a}}\\{{b}}", 6, &[("{{b}}", 7)]),
            ("\n", "{{a}}\n{{b}}", 6, &[("\n", 5)]),
            ("zzz", "abc", 0, &[("zzz", 0)]),
        ] {
            let runs = runs(text, source, at);
            let found: Vec<(&str, usize)> = runs
                .iter()
                .map(|run| (run.text.as_str(), run.place.start))
                .collect();
            assert_eq!(found, expected, "{source:?}");
        }
    }
}
