//! Relations between packages: `Depends: a (>= 1) | b, c:any`.

use std::fmt;
use std::str::FromStr;

use crate::version::Version;

/// One name of a relation with what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) name: String,
    pub(crate) qualifier: Option<Qualifier>,
    pub(crate) version: Option<(Comparison, Version)>,
}

/// What stands behind the colon of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Qualifier {
    /// Of whatever architecture, where the package allows that.
    Any,
    /// Of this architecture alone.
    Architecture(String),
}

/// How a version is to stand to the one of the relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

/// Alternatives, the preferred one first: one of them is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group(pub(crate) Vec<Relation>);

/// Why a text is no relation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a relation between packages")]
pub struct InvalidRelation(pub String);

/// All groups of a field, in its order.
pub(crate) fn parse_groups(field: &str) -> Result<Vec<Group>, InvalidRelation> {
    field
        .split(',')
        .filter(|group| !group.trim().is_empty())
        .map(|group| {
            let alternatives: Result<_, _> = group.split('|').map(str::parse).collect();
            alternatives.map(Group)
        })
        .collect()
}

/// The relations of a field that has no alternatives (Provides, Breaks, …).
pub(crate) fn parse_list(field: &str) -> Result<Vec<Relation>, InvalidRelation> {
    let groups = parse_groups(field)?;
    Ok(groups.into_iter().flat_map(|group| group.0).collect())
}

impl Comparison {
    pub(crate) fn holds(self, version: &Version, wanted: &Version) -> bool {
        match self {
            Self::Earlier => version < wanted,
            Self::EarlierOrEqual => version <= wanted,
            Self::Equal => version == wanted,
            Self::LaterOrEqual => version >= wanted,
            Self::Later => version > wanted,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<<" => Self::Earlier,
            "<=" | "<" => Self::EarlierOrEqual,
            "=" => Self::Equal,
            ">=" | ">" => Self::LaterOrEqual,
            ">>" => Self::Later,
            _ => return None,
        })
    }

    fn text(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

impl FromStr for Relation {
    type Err = InvalidRelation;

    fn from_str(text: &str) -> Result<Self, InvalidRelation> {
        let invalid = || InvalidRelation(text.trim().to_owned());
        let (name, version) = match text.split_once('(') {
            Some((name, rest)) => {
                let inside = rest
                    .trim_end()
                    .strip_suffix(')')
                    .ok_or_else(invalid)?
                    .trim();
                let length = inside
                    .find(|c: char| !"<=>".contains(c))
                    .ok_or_else(invalid)?;
                let (comparison, version) = inside.split_at(length);
                let comparison = Comparison::parse(comparison).ok_or_else(invalid)?;
                let version = version.trim().parse().map_err(|_| invalid())?;
                (name, Some((comparison, version)))
            }
            None => (text, None),
        };
        let (name, qualifier) = match name.trim().split_once(':') {
            Some((name, "any")) => (name, Some(Qualifier::Any)),
            Some((name, architecture)) if is_package_name(architecture) => {
                (name, Some(Qualifier::Architecture(architecture.to_owned())))
            }
            Some(_) => return Err(invalid()),
            None => (name.trim(), None),
        };
        if !is_package_name(name) {
            return Err(invalid());
        }
        Ok(Self {
            name: name.to_owned(),
            qualifier,
            version,
        })
    }
}

/// Policy 5.6.1, but a name of one letter passes: archives of others have some.
pub(crate) fn is_package_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.qualifier {
            Some(Qualifier::Any) => f.write_str(":any")?,
            Some(Qualifier::Architecture(name)) => write!(f, ":{name}")?,
            None => {}
        }
        match &self.version {
            Some((comparison, version)) => write!(f, " ({} {version})", comparison.text()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, relation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " | " };
            write!(f, "{separator}{relation}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_versions_and_qualifiers() {
        let field = "libc6 (>= 2.34), perl:any, debconf (>= 0.5)|debconf-2.0 , x:amd64 (<<1~)";
        let groups = parse_groups(field).unwrap();
        let shown: Vec<_> = groups.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "libc6 (>= 2.34)",
                "perl:any",
                "debconf (>= 0.5) | debconf-2.0",
                "x:amd64 (<< 1~)"
            ]
        );
        assert_eq!(groups[1].0[0].qualifier, Some(Qualifier::Any));
        assert_eq!(groups[2].0.len(), 2);
    }

    #[test]
    fn the_five_comparisons_and_the_old_two() {
        let at = |text: &str| text.parse::<Version>().unwrap();
        let holds = |relation: &str, version: &str| {
            let relation: Relation = format!("x ({relation} 2)").parse().unwrap();
            let (comparison, wanted) = relation.version.unwrap();
            comparison.holds(&at(version), &wanted)
        };
        for (comparison, expected) in [
            ("<<", [true, false, false]),
            ("<=", [true, true, false]),
            ("<", [true, true, false]),
            ("=", [false, true, false]),
            (">=", [false, true, true]),
            (">", [false, true, true]),
            (">>", [false, false, true]),
        ] {
            assert_eq!(
                ["1", "2", "3"].map(|v| holds(comparison, v)),
                expected,
                "{comparison}"
            );
        }
    }

    #[test]
    fn what_is_no_relation() {
        for bad in [
            "a b",
            "a (2)",
            "a (>= )",
            "a (>= 1",
            "a (!! 1)",
            "a:",
            "(>= 1)",
            "a | | b",
            "a [amd64]",
        ] {
            assert!(parse_groups(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_groups(" , ").unwrap(), []);
    }
}
