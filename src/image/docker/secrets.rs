//! The secrets of a build: read before it starts, never shown.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use crate::stack::{BuildSecretSource, DockerfileBuild};

use super::failure::DockerfileError;

/// BuildKit takes no larger secret.
const LARGEST: usize = 500 * 1024;
/// What shorter values hide is mostly something else.
const SHORTEST_HIDDEN: usize = 4;

/// Values by id.
#[derive(Clone, Default)]
pub(super) struct Secrets(BTreeMap<String, Bytes>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads what `secrets` of the build names.
    pub(super) fn read(root: &Path, build: &DockerfileBuild) -> Result<Self, DockerfileError> {
        let mut values = BTreeMap::new();
        for (id, secret) in &build.secrets {
            let missing = |reason: String| DockerfileError::Secret {
                id: id.clone(),
                reason,
                span: secret.span.clone(),
            };
            let value = match &secret.source {
                BuildSecretSource::Env(name) => match env::var_os(name) {
                    Some(value) => Bytes::copy_from_slice(value.as_encoded_bytes()),
                    None => return Err(missing(format!("${name} is not set"))),
                },
                BuildSecretSource::File(path) => match fs::read(root.join(path)) {
                    Ok(content) => Bytes::from(content),
                    Err(error) => {
                        return Err(missing(format!("`{}`: {error}", path.display())));
                    }
                },
            };
            if value.len() > LARGEST {
                return Err(missing("it is larger than 500 KB".to_owned()));
            }
            values.insert(id.clone(), value);
        }
        Ok(Self(values))
    }

    /// The value for an id.
    pub(super) fn get(&self, id: &str) -> Option<&Bytes> {
        self.0.get(id)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` without the values, whole or any long enough line of them: what any of them covers is hidden, so that
    /// none leaves a part of another.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut covered: Vec<Range<usize>> =
            self.words().flat_map(|word| places(text, word)).collect();
        covered.sort_by_key(|place| place.start);
        let mut hidden = String::with_capacity(text.len());
        let mut shown = 0;
        for place in covered {
            if place.start > shown || hidden.is_empty() {
                hidden.push_str(&text[shown..place.start]);
                hidden.push_str("***");
            }
            shown = shown.max(place.end);
        }
        hidden.push_str(&text[shown..]);
        hidden
    }

    /// What must not be shown: each value, and each of its lines.
    fn words(&self) -> impl Iterator<Item = &str> {
        self.0
            .values()
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| std::iter::once(value).chain(value.lines()))
            .map(str::trim)
            .filter(|word| word.len() >= SHORTEST_HIDDEN)
    }

    #[cfg(test)]
    pub(super) fn of(values: &[(&str, &str)]) -> Self {
        let own = |(id, value): &(&str, &str)| {
            ((*id).to_owned(), Bytes::copy_from_slice(value.as_bytes()))
        };
        Self(values.iter().map(own).collect())
    }
}

/// Where `word` is in `text`, also where it overlaps itself.
fn places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text[from..].find(word)?;
        from = start + word.chars().next().map_or(1, char::len_utf8);
        Some(start..start + word.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceFile, Span};
    use crate::stack::BuildSecret;

    fn build(secrets: &[(&str, BuildSecretSource)]) -> DockerfileBuild {
        let span = Span::start_of(&SourceFile::new("service.yaml", ""));
        let mut build = DockerfileBuild::new("Dockerfile".into(), span.clone());
        for (id, source) in secrets {
            let secret = BuildSecret {
                source: source.clone(),
                span: span.clone(),
            };
            build.secrets.insert((*id).to_owned(), secret);
        }
        build
    }

    #[test]
    fn secrets_are_read_from_files_and_missing_ones_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("token"), "s3cret\n").unwrap();
        let file = |path: &str| BuildSecretSource::File(path.into());
        let found = Secrets::read(root.path(), &build(&[("a", file("token"))])).unwrap();
        assert_eq!(found.get("a").unwrap(), &b"s3cret\n"[..]);
        assert!(!format!("{found:?}").contains("s3cret"));

        let unset = BuildSecretSource::Env("STACKCTL_TEST_NOT_SET".into());
        for (source, expected) in [
            (file("gone"), "`gone`: No such file"),
            (unset, "$STACKCTL_TEST_NOT_SET is not set"),
        ] {
            let error = Secrets::read(root.path(), &build(&[("a", source)])).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn no_part_of_a_value_is_left_beside_another() {
        let secrets = Secrets::of(&[("a", "abcd"), ("b", "abcdefgh"), ("c", "ghijk\nghijklm")]);
        for (text, expected) in [
            ("it is abcdefgh", "it is ***"),
            ("abcd efgh", "*** efgh"),
            // Two values that share letters.
            ("<abcdefghijk>", "<***>"),
            ("ghijklm, ghijk", "***, ***"),
            ("abcdabcd", "***"),
            ("ghijk\nghijklm", "***"),
        ] {
            assert_eq!(secrets.hide(text), expected, "{text}");
        }
        let repeated = Secrets::of(&[("a", "abab")]);
        assert_eq!(repeated.hide("ababab!"), "***!");
        let stars = Secrets::of(&[("a", "word"), ("b", "****")]);
        assert_eq!(stars.hide("word"), "***");
    }

    #[test]
    fn values_are_hidden() {
        let secrets = Secrets::of(&[("a", "s3cret\n"), ("b", "first line\nx\n"), ("c", "ab")]);
        assert_eq!(secrets.hide("a s3cret, x ab"), "a ***, x ab");
        assert_eq!(secrets.hide("the first line"), "the ***");
        assert_eq!(secrets.hide("in first line\nx\n!"), "in ***\n!");
    }
}
