//! Which packages a set of packages needs: pure, and always the same answer.
//!
//! Depends and Pre-Depends are followed, Recommends are not, and nothing is
//! taken for granted because it is essential: an image is not a system. What is
//! excluded is not pulled in although something depends on it.
//!
//! Of alternatives the first that is possible is taken, a package of the name
//! before one that provides it, the newest version first. Where that leads into
//! a conflict, the next possibility is tried.

mod choice;
mod failure;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::index::IndexError;
use crate::package::Package;
use crate::relation::{Group, Relation};

use choice::Options;
use failure::Failure;
pub use failure::ResolveError;

/// Enough for everything in Debian; without it a hopeless request could take for ever.
const MOST_STEPS: u32 = 20_000;

/// Where packages are looked up.
pub(crate) trait Packages {
    /// All versions of the packages of this name.
    fn named(&self, name: &str) -> Result<Vec<Arc<Package>>, IndexError>;
    /// All versions of the packages that provide this name.
    fn providing(&self, name: &str) -> Result<Vec<Arc<Package>>, IndexError>;
    /// All names, for suggestions.
    fn names(&self) -> Result<Vec<String>, IndexError>;
    /// Of two packages of the same version, the one that is ranked lower is taken.
    fn rank(&self, package: &Package) -> usize;
}

/// What to install, and what not to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Names, also of the form `name=version`.
    pub(crate) packages: &'a [String],
    pub(crate) exclude: &'a BTreeSet<String>,
    /// Packages whose dependencies are not followed.
    pub(crate) alone: &'a BTreeSet<String>,
}

/// The packages that were found, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// By name.
    pub(crate) packages: BTreeMap<String, Arc<Package>>,
    /// Excluded packages with the names of those that depend on them.
    pub(crate) left_out: BTreeMap<String, BTreeSet<String>>,
}

/// Finds what `wanted` needs.
pub(crate) fn resolve(
    packages: &dyn Packages,
    wanted: Wanted<'_>,
) -> Result<Resolution, ResolveError> {
    let mut solver = Solver {
        options: Options::new(packages, wanted.exclude),
        alone: wanted.alone,
        steps: 0,
        first_failure: None,
    };
    let mut state = State::default();
    for name in wanted.packages {
        let relation = failure::parse_request(name)?;
        state.open.push_back(Open {
            group: Group(vec![relation]),
            by: None,
        });
    }
    match solver.solve(state) {
        Ok(resolution) => Ok(resolution),
        Err(Stop::Index(error)) => Err(error.into()),
        Err(Stop::DeadEnd) => {
            let (failure, state) = solver.first_failure.expect("a dead end is remembered");
            failure::explain(packages, failure, &state.by)
        }
    }
}

/// A dependency that is not looked at yet.
#[derive(Debug, Clone)]
struct Open {
    group: Group,
    /// The package that has it; none for what was asked for.
    by: Option<String>,
}

/// How far a solution has come.
#[derive(Debug, Clone, Default)]
struct State {
    chosen: BTreeMap<String, Arc<Package>>,
    left_out: BTreeMap<String, BTreeSet<String>>,
    /// Who needed a package first.
    by: BTreeMap<String, Option<String>>,
    open: VecDeque<Open>,
}

/// Why a branch of the search ends.
enum Stop {
    DeadEnd,
    Index(IndexError),
}

struct Solver<'a> {
    options: Options<'a>,
    alone: &'a BTreeSet<String>,
    steps: u32,
    /// Of the preferred choices: what a reader expects to be told.
    first_failure: Option<(Failure, State)>,
}

impl Solver<'_> {
    fn solve(&mut self, mut state: State) -> Result<Resolution, Stop> {
        while let Some(open) = state.open.pop_front() {
            if satisfied(&state, &open.group) {
                continue;
            }
            let mut candidates = self.options.of(&open.group).map_err(Stop::Index)?;
            let conflict = keep_possible(&mut candidates, &state);
            let last = candidates.pop();
            for candidate in candidates {
                let mut branch = state.clone();
                branch.take(candidate, &open, self.alone);
                match self.solve(branch) {
                    Err(Stop::DeadEnd) => self.count_step(&open, &state)?,
                    other => return other,
                }
            }
            match last {
                Some(candidate) => state.take(candidate, &open, self.alone),
                None => {
                    let failure = Failure::new(open, conflict);
                    return Err(self.dead_end(failure, state));
                }
            }
        }
        Ok(Resolution {
            packages: state.chosen,
            left_out: state.left_out,
        })
    }

    fn dead_end(&mut self, failure: Failure, state: State) -> Stop {
        self.first_failure.get_or_insert((failure, state));
        Stop::DeadEnd
    }

    fn count_step(&mut self, open: &Open, state: &State) -> Result<(), Stop> {
        self.steps += 1;
        match self.steps > MOST_STEPS {
            true => Err(self.dead_end(Failure::new(open.clone(), None), state.clone())),
            false => Ok(()),
        }
    }
}

/// A way to satisfy a dependency.
#[derive(Debug, Clone)]
enum Candidate {
    Package(Arc<Package>),
    /// An excluded package would have been taken.
    LeftOut(String),
}

impl State {
    fn take(&mut self, candidate: Candidate, open: &Open, alone: &BTreeSet<String>) {
        match candidate {
            Candidate::LeftOut(name) => {
                let by = open.by.clone().unwrap_or_default();
                self.left_out.entry(name).or_default().insert(by);
            }
            Candidate::Package(package) => {
                let depends = match alone.contains(&package.name) {
                    true => &[][..],
                    false => &package.depends,
                };
                self.open.extend(depends.iter().map(|group| Open {
                    group: group.clone(),
                    by: Some(package.name.clone()),
                }));
                self.by.insert(package.name.clone(), open.by.clone());
                self.chosen.insert(package.name.clone(), package);
            }
        }
    }
}

fn satisfied(state: &State, group: &Group) -> bool {
    group
        .0
        .iter()
        .any(|relation| chosen_satisfies(state, relation))
}

fn chosen_satisfies(state: &State, relation: &Relation) -> bool {
    let own = state.chosen.get(&relation.name);
    own.is_some_and(|package| package.is(relation))
        || state
            .chosen
            .values()
            .any(|package| package.provides(relation))
}

/// Removes what cannot stand beside what is chosen; returns the first pair that clashes.
fn keep_possible(
    candidates: &mut Vec<Candidate>,
    state: &State,
) -> Option<(Arc<Package>, Arc<Package>)> {
    let mut first = None;
    candidates.retain(|candidate| {
        let Candidate::Package(package) = candidate else {
            return true;
        };
        let clash = state.chosen.values().find(|chosen| {
            // Another version of a package replaces the first one, which something needs.
            chosen.name == package.name || chosen.excludes(package) || package.excludes(chosen)
        });
        if let Some(clash) = clash {
            first.get_or_insert((Arc::clone(package), Arc::clone(clash)));
        }
        clash.is_none()
    });
    first
}

#[cfg(test)]
mod tests;
