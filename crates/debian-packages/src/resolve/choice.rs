//! The ways to satisfy a dependency, the preferred one first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Candidate, Packages};
use crate::index::IndexError;
use crate::package::Package;
use crate::relation::{Group, Relation};

/// Looks packages up, each name once.
pub(super) struct Options<'a> {
    packages: &'a dyn Packages,
    exclude: &'a BTreeSet<String>,
    named: BTreeMap<String, Vec<Arc<Package>>>,
    providing: BTreeMap<String, Vec<Arc<Package>>>,
}

impl<'a> Options<'a> {
    pub(super) fn new(packages: &'a dyn Packages, exclude: &'a BTreeSet<String>) -> Self {
        Self {
            packages,
            exclude,
            named: BTreeMap::new(),
            providing: BTreeMap::new(),
        }
    }

    /// Whoever excludes the package that would be taken wants nothing in its
    /// place: what follows an excluded one is not tried.
    pub(super) fn of(&mut self, group: &Group) -> Result<Vec<Candidate>, IndexError> {
        let mut candidates = Vec::new();
        for relation in &group.0 {
            if self.exclude.contains(&relation.name) {
                candidates.push(Candidate::LeftOut(relation.name.clone()));
                break;
            }
            let packages = self.of_relation(relation)?;
            let excluded = packages
                .iter()
                .position(|package| self.exclude.contains(&package.name));
            let possible = &packages[..excluded.unwrap_or(packages.len())];
            candidates.extend(possible.iter().cloned().map(Candidate::Package));
            if let Some(at) = excluded {
                candidates.push(Candidate::LeftOut(packages[at].name.clone()));
                break;
            }
        }
        Ok(candidates)
    }

    fn of_relation(&mut self, relation: &Relation) -> Result<Vec<Arc<Package>>, IndexError> {
        let mut packages = self.named(&relation.name)?;
        packages.retain(|package| package.is(relation));
        let mut providers = self.providing(&relation.name)?;
        providers.retain(|package| package.provides(relation));
        packages.extend(providers);
        Ok(packages)
    }

    fn named(&mut self, name: &str) -> Result<Vec<Arc<Package>>, IndexError> {
        if let Some(known) = self.named.get(name) {
            return Ok(known.clone());
        }
        let mut packages = self.packages.named(name)?;
        packages.sort_by_key(|package| {
            (
                Reverse(package.version.clone()),
                self.packages.rank(package),
            )
        });
        packages.dedup_by(|second, first| second.version == first.version);
        self.named.insert(name.to_owned(), packages.clone());
        Ok(packages)
    }

    /// What a system needs most comes first, then the names decide. Only the
    /// newest version of a package is a provider.
    fn providing(&mut self, name: &str) -> Result<Vec<Arc<Package>>, IndexError> {
        if let Some(known) = self.providing.get(name) {
            return Ok(known.clone());
        }
        let names: BTreeSet<String> = self
            .packages
            .providing(name)?
            .iter()
            .map(|package| package.name.clone())
            .collect();
        let mut packages = Vec::new();
        for provider in names {
            packages.extend(self.named(&provider)?.first().cloned());
        }
        packages.sort_by_key(|package| (package.priority, package.name.clone()));
        self.providing.insert(name.to_owned(), packages.clone());
        Ok(packages)
    }
}
