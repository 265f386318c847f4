//! Which services cargo compiles in one run, so that they share their dependencies. Pure.

use std::collections::BTreeSet;

use crate::stack::{Build, CargoBuild, ServiceName, Stack};

use super::target::Target;

/// Services of one stack that cargo resolves together. Cargo unites the features of everything it is asked for at
/// once: a run therefore always names all packages of its batch, whichever binaries are wanted, so that a service's
/// binary does not depend on what else happens to be built with it. A binary that a run asks for by its name is one
/// of one package only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch<'a> {
    /// In the order of their names.
    pub members: Vec<Member<'a>>,
}

/// A service of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// Whose.
    pub service: &'a ServiceName,
    /// What is compiled.
    pub build: &'a CargoBuild,
    /// What for.
    pub targets: Vec<Target>,
}

/// The batches of a stack: one, unless services want the same package with different features, or binaries of the same
/// name from different packages. `binaries` are those that a package has.
pub(crate) fn batches(
    stack: &Stack,
    binaries: impl Fn(&str) -> BTreeSet<String>,
) -> Vec<Batch<'_>> {
    let mut batches: Vec<Batch<'_>> = Vec::new();
    for service in stack.services.values() {
        let Build::Native(native) = &service.build else {
            continue;
        };
        let Some(build) = &native.cargo else { continue };
        let member = Member {
            service: &service.name,
            build,
            targets: Target::of_build(native),
        };
        match batches
            .iter_mut()
            .find(|batch| batch.takes(build, &binaries))
        {
            Some(batch) => batch.members.push(member),
            None => batches.push(Batch {
                members: vec![member],
            }),
        }
    }
    batches
}

impl Batch<'_> {
    fn takes(&self, build: &CargoBuild, binaries: &impl Fn(&str) -> BTreeSet<String>) -> bool {
        let has_one_of = |package: &CargoBuild, other: &CargoBuild| {
            let binaries = binaries(&package.package);
            other.all_bins().any(|bin| binaries.contains(bin))
        };
        self.members.iter().all(|member| {
            match member.build.package == build.package {
                true => has_same_features(member.build, build),
                // `--bin server` makes the `server` of every package that has one, all in one file.
                false => !has_one_of(member.build, build) && !has_one_of(build, member.build),
            }
        })
    }

    /// Cargo's arguments that choose packages and features. `has_default` says whether a package has a feature
    /// `default`: what is switched off for all is switched on again for the others.
    pub(crate) fn selection(&self, has_default: impl Fn(&str) -> bool) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut argument = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        let mut features = BTreeSet::new();
        let packages: BTreeSet<&str> = self
            .members
            .iter()
            .map(|member| member.build.package.as_str())
            .collect();
        for package in packages {
            argument("--package", package.to_owned());
        }
        let some_without = self
            .members
            .iter()
            .any(|member| !member.build.default_features);
        for Member { build, .. } in &self.members {
            features.extend(
                build
                    .features
                    .iter()
                    .map(|feature| qualified(feature, &build.package)),
            );
            if some_without && build.default_features && has_default(&build.package) {
                features.insert(qualified("default", &build.package));
            }
        }
        for feature in features {
            argument("--features", feature);
        }
        if some_without {
            arguments.push("--no-default-features".to_owned());
        }
        arguments
    }

    /// What the members are compiled for.
    pub(crate) fn triples(&self) -> BTreeSet<&'static str> {
        self.members
            .iter()
            .flat_map(|member| &member.targets)
            .map(|target| target.triple)
            .collect()
    }
}

fn has_same_features(one: &CargoBuild, other: &CargoBuild) -> bool {
    let features =
        |build: &CargoBuild| -> BTreeSet<String> { build.features.iter().cloned().collect() };
    one.default_features == other.default_features && features(one) == features(other)
}

/// A feature of a package, or of one of its dependencies as it is written.
fn qualified(feature: &str, package: &str) -> String {
    match feature.contains('/') {
        true => feature.to_owned(),
        false => format!("{package}/{feature}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_stack::{self, cargo_with};
    use super::*;

    fn selections(services: &[(&str, Build)]) -> Vec<String> {
        let stack = test_stack::stack(std::path::Path::new("."), services);
        // Each package has its own binary, and `a` and `b` have one called `server`.
        let binaries = |package: &str| match package {
            "a" | "b" => BTreeSet::from([package.to_owned(), "server".to_owned()]),
            _ => BTreeSet::from([package.to_owned()]),
        };
        batches(&stack, binaries)
            .iter()
            .map(|batch| batch.selection(|package| package == "a").join(" "))
            .collect()
    }

    #[test]
    fn services_are_compiled_together() {
        let services = [
            ("a", cargo_with("a", &["x", "kit/y"], true)),
            ("b", cargo_with("b", &[], true)),
            ("c", test_stack::dockerfile("c/Dockerfile")),
        ];
        assert_eq!(
            selections(&services),
            ["--package a --package b --features a/x --features kit/y"]
        );
    }

    #[test]
    fn a_package_with_other_features_gets_a_run_of_its_own() {
        let services = [
            ("a", cargo_with("a", &["x"], true)),
            ("b", cargo_with("a", &[], true)),
            ("c", cargo_with("a", &["x"], true)),
        ];
        assert_eq!(
            selections(&services),
            ["--package a --features a/x", "--package a"]
        );
    }

    #[test]
    fn binaries_of_one_name_are_made_in_runs_of_their_own() {
        let with_bin = |package: &str, bin: &str| {
            let build = CargoBuild {
                bin: bin.to_owned(),
                ..CargoBuild::new(package, test_stack::span())
            };
            Build::Native(Box::new(build.into()))
        };
        let services = [
            ("one", with_bin("a", "server")),
            ("other", with_bin("b", "b")),
            ("third", with_bin("c", "c")),
        ];
        assert_eq!(
            selections(&services),
            ["--package a --package c", "--package b"],
            "the package of the second has a binary that the first asks for, too"
        );
        let services = [("other", with_bin("b", "b")), ("own", with_bin("a", "a"))];
        assert_eq!(
            selections(&services),
            ["--package a --package b"],
            "nobody asks for `server`"
        );
    }

    #[test]
    fn defaults_that_one_does_without_stay_on_for_the_others() {
        let services = [
            ("a", cargo_with("a", &[], true)),
            ("b", cargo_with("b", &[], true)),
            ("c", cargo_with("c", &["z"], false)),
        ];
        assert_eq!(
            selections(&services),
            [
                "--package a --package b --package c --features a/default --features c/z --no-default-features"
            ]
        );
    }
}
