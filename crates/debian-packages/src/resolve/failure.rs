//! Why a request cannot be met, told so that it can be changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Open, Packages, Resolution};
use crate::index::IndexError;
use crate::package::Package;
use crate::relation::{Comparison, Relation};

/// Why there is no set of packages that fits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The request is no name of a package.
    #[error("`{0}` is not a package: expected `name` or `name=version`")]
    Name(String),
    /// No suite has the package.
    #[error("there is no package `{name}`{}", hint(.similar))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names that are written alike.
        similar: Vec<String>,
    },
    /// A suite has the package, but not in this version.
    #[error("there is no version {wanted} of `{name}`; there is {}", .known.join(", "))]
    UnknownVersion {
        /// The package.
        name: String,
        /// What was asked for.
        wanted: String,
        /// The versions there are, the newest first.
        known: Vec<String>,
    },
    /// Something that is needed is not there.
    #[error("`{needs}` is needed but not to be had{}", because(.chain))]
    Missing {
        /// The dependency with its alternatives.
        needs: String,
        /// From what was asked for to the package that needs it.
        chain: Vec<String>,
    },
    /// Two packages that are both needed cannot be installed together.
    #[error("`{one}` and `{other}` cannot be installed together{}; `{other}` is there{}",
        because(.chain), because(.other_chain))]
    Conflict {
        /// Name and version of the one that was tried last.
        one: String,
        /// Name and version of the one it clashes with.
        other: String,
        /// From what was asked for to the package that needs the one.
        chain: Vec<String>,
        /// From what was asked for to the package that needs the other.
        other_chain: Vec<String>,
    },
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A dependency without a possible package.
#[derive(Debug)]
pub(super) struct Failure {
    open: Open,
    conflict: Option<(Arc<Package>, Arc<Package>)>,
}

impl Failure {
    pub(super) fn new(open: Open, conflict: Option<(Arc<Package>, Arc<Package>)>) -> Self {
        Self { open, conflict }
    }
}

/// `name` or `name=version`.
pub(super) fn parse_request(text: &str) -> Result<Relation, ResolveError> {
    let invalid = || ResolveError::Name(text.to_owned());
    let (name, version) = match text.split_once('=') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let mut relation: Relation = name.trim().parse().map_err(|_| invalid())?;
    if relation.version.is_some() {
        return Err(invalid());
    }
    if let Some(version) = version {
        let version = version.trim().parse().map_err(|_| invalid())?;
        relation.version = Some((Comparison::Equal, version));
    }
    Ok(relation)
}

/// The error for a failure; `by` says who needed what.
pub(super) fn explain(
    packages: &dyn Packages,
    failure: Failure,
    by: &BTreeMap<String, Option<String>>,
) -> Result<Resolution, ResolveError> {
    let chain = |start: &Option<String>| -> Vec<String> {
        let mut names = Vec::new();
        let mut next = start.clone();
        while let Some(name) = next {
            next = by.get(&name).cloned().flatten();
            names.push(name);
        }
        names.reverse();
        names
    };
    let named = |package: &Package| format!("{} {}", package.name, package.version);
    if let Some((one, other)) = failure.conflict {
        return Err(ResolveError::Conflict {
            chain: chain(&failure.open.by),
            other_chain: chain(by.get(&other.name).unwrap_or(&None)),
            one: named(&one),
            other: named(&other),
        });
    }
    match (&failure.open.by, failure.open.group.0.as_slice()) {
        (None, [relation]) => Err(unknown(packages, relation)?),
        _ => Err(ResolveError::Missing {
            needs: failure.open.group.to_string(),
            chain: chain(&failure.open.by),
        }),
    }
}

fn unknown(packages: &dyn Packages, relation: &Relation) -> Result<ResolveError, ResolveError> {
    let mut known = packages.named(&relation.name)?;
    known.sort_by(|left, right| right.version.cmp(&left.version));
    let name = relation.name.clone();
    let Some((_, wanted)) = relation.version.as_ref().filter(|_| !known.is_empty()) else {
        let similar = similar(packages.names()?, &name);
        return Ok(ResolveError::Unknown { name, similar });
    };
    let mut known: Vec<_> = known
        .iter()
        .map(|package| package.version.to_string())
        .collect();
    known.dedup();
    Ok(ResolveError::UnknownVersion {
        name,
        wanted: wanted.to_string(),
        known,
    })
}

/// At most three: names with another number or a typing error, and longer names.
fn similar(names: Vec<String>, wanted: &str) -> Vec<String> {
    let mut scored: Vec<(usize, String)> = names
        .into_iter()
        .filter_map(|name| {
            let score = match name.starts_with(&format!("{wanted}-")) {
                // `postgresql` for `postgresql-15`, `redis` for `redis-server`
                true => 2,
                false => strsim::damerau_levenshtein(&name, wanted),
            };
            (score <= 2 && score < wanted.len() / 2 + 1).then_some((score, name))
        })
        .collect();
    scored.sort_by_key(|(score, name)| (*score, name.len(), name.clone()));
    scored.dedup();
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

fn hint(similar: &[String]) -> String {
    let quoted: Vec<_> = similar.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        _ => format!("; did you mean {}?", quoted.join(" or ")),
    }
}

fn because(names: &[String]) -> String {
    match names {
        [] => " because it was asked for".to_owned(),
        names => format!(" because of {}", names.join(" → ")),
    }
}
