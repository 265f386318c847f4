//! Patterns of paths, such as `/hello/{user}`.

/// A path as it stands in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
}

/// A part between slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    Parameter(&'a str),
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.text[1..].split('/').map(|text| {
            let name = text
                .strip_prefix('{')
                .and_then(|text| text.strip_suffix('}'));
            name.map_or(Segment::Literal(text), Segment::Parameter)
        })
    }

    /// Whether a path, as it was sent, is one of these. A parameter at the end is never empty.
    pub(super) fn fits(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut parts = path.split('/');
        let fit = self
            .segments()
            .all(|segment| match (segment, parts.next()) {
                (Segment::Literal(text), Some(part)) => text == part,
                (Segment::Parameter(_), Some(_)) => true,
                (_, None) => false,
            });
        let ends_empty = path.ends_with('/') || path.is_empty();
        let ends_in_parameter = matches!(self.segments().last(), Some(Segment::Parameter(_)));
        fit && parts.next().is_none() && !(ends_empty && ends_in_parameter)
    }

    /// How much of it is fixed: the more specific of two patterns wins.
    pub(super) fn literals(&self) -> usize {
        self.segments()
            .filter(|segment| matches!(segment, Segment::Literal(_)))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_patterns() {
        for (pattern, path, fits) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a/{b}", "/a/x%2Fy", true),
            ("/a/{b}", "/a/", false),
            ("/a/{b}", "/a", false),
            ("/a/{b}", "/a/x/", false),
            ("/a/{b}/c", "/a/x/c", true),
            ("/a/{b}/c", "/a//c", true),
            ("/a", "*", false),
        ] {
            assert_eq!(Pattern::new(pattern).fits(path), fits, "{pattern} {path}");
        }
    }
}
