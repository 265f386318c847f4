//! Which paths are left out: patterns, of which the last that matches decides.

use globset::{GlobBuilder, GlobMatcher};

/// A pattern that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is not a pattern of paths")]
pub struct InvalidPattern {
    pattern: String,
    #[source]
    source: globset::Error,
}

/// Patterns of paths. A pattern stands for a path and all that is below it;
/// `*` stays within a part, `**` does not; `!` in front keeps what it matches.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<(GlobMatcher, bool)>);

impl Rules {
    pub(super) fn new<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidPattern> {
        let rule = |text: &'a str| {
            let (pattern, matched) = match text.strip_prefix('!') {
                Some(pattern) => (pattern, false),
                None => (text, true),
            };
            let inner = pattern.trim_start_matches("./").trim_matches('/');
            let glob = GlobBuilder::new(inner).literal_separator(true).build();
            glob.map(|glob| (glob.compile_matcher(), matched))
                .map_err(|source| InvalidPattern {
                    pattern: text.to_owned(),
                    source,
                })
        };
        patterns
            .into_iter()
            .map(rule)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let rule = self.0.iter().rev().find(|(glob, _)| {
            let above = path.match_indices('/').map(|(end, _)| &path[..end]);
            glob.is_match(path) || above.into_iter().any(|above| glob.is_match(above))
        });
        rule.is_some_and(|(_, matched)| *matched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_decides() {
        let rules = Rules::new([
            "/usr/share/doc",
            "!/usr/share/doc/*/copyright",
            "./usr/lib/*/gconv/",
            "**/*.a",
        ])
        .unwrap();
        for (path, expected) in [
            ("usr/share/doc", true),
            ("usr/share/doc/redis/changelog.gz", true),
            ("usr/share/doc/redis/copyright", false),
            ("usr/share/doc/redis/sub/copyright", true),
            ("usr/share/doc-base", false),
            ("usr/share", false),
            ("usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", true),
            ("usr/lib/a/b/gconv", false),
            ("usr/lib/deep/er/x.a", true),
        ] {
            assert_eq!(rules.matches(path), expected, "{path}");
        }
        assert!(!Rules::default().matches("a"));
        assert!(Rules::new(["a[", "b"]).is_err());
    }
}
