//! Requests against small made-up archives.

use super::*;
use crate::package::{self, tests::paragraph};

/// Packages as paragraphs, separated by empty lines; the number is the suite.
struct Archive(Vec<Arc<Package>>);

impl Archive {
    fn new(suites: &[&str]) -> Self {
        let packages = suites.iter().enumerate().flat_map(|(origin, text)| {
            text.split("\n\n").map(move |fields| {
                Arc::new(package::parse(&paragraph(fields.trim()), origin).unwrap())
            })
        });
        Self(packages.collect())
    }
}

impl Packages for Archive {
    fn named(&self, name: &str) -> Result<Vec<Arc<Package>>, IndexError> {
        Ok(self
            .0
            .iter()
            .filter(|package| package.name == name)
            .cloned()
            .collect())
    }

    fn providing(&self, name: &str) -> Result<Vec<Arc<Package>>, IndexError> {
        let provides = |package: &&Arc<Package>| package.provides.iter().any(|p| p.name == name);
        Ok(self.0.iter().filter(provides).cloned().collect())
    }

    fn names(&self) -> Result<Vec<String>, IndexError> {
        Ok(self.0.iter().map(|package| package.name.clone()).collect())
    }

    /// The last suite wins.
    fn rank(&self, package: &Package) -> usize {
        usize::MAX - package.origin
    }
}

fn try_resolve(
    archive: &Archive,
    packages: &[&str],
    exclude: &[&str],
) -> Result<Resolution, ResolveError> {
    let packages: Vec<_> = packages.iter().map(|&name| name.to_owned()).collect();
    let exclude = exclude.iter().map(|&name| name.to_owned()).collect();
    let wanted = Wanted {
        packages: &packages,
        exclude: &exclude,
        alone: &BTreeSet::new(),
    };
    resolve(archive, wanted)
}

/// `name version` of what is chosen, comma-separated, then what is left out.
fn chosen(archive: &Archive, packages: &[&str], exclude: &[&str]) -> String {
    let resolution = try_resolve(archive, packages, exclude).unwrap();
    let packages = resolution
        .packages
        .values()
        .map(|p| format!("{} {}", p.name, p.version));
    let left_out = resolution.left_out.iter().map(|(name, by)| {
        format!(
            "-{name} ({})",
            by.iter().cloned().collect::<Vec<_>>().join(" ")
        )
    });
    packages.chain(left_out).collect::<Vec<_>>().join(", ")
}

fn message(archive: &Archive, packages: &[&str]) -> String {
    try_resolve(archive, packages, &[]).unwrap_err().to_string()
}

#[test]
fn dependencies_are_followed_and_recommendations_are_not() {
    let archive = Archive::new(&[
        "Package: server\nVersion: 1\nPre-Depends: base\nDepends: tools (>= 2), libc\nRecommends: docs\n\n\
         Package: base\nVersion: 1\nEssential: yes\n\n\
         Package: other\nVersion: 1\nEssential: yes\n\n\
         Package: tools\nVersion: 2\nDepends: libc\n\n\
         Package: libc\nVersion: 3\nDepends: server\n\n\
         Package: docs\nVersion: 1",
    ]);
    assert_eq!(
        chosen(&archive, &["server"], &[]),
        "base 1, libc 3, server 1, tools 2"
    );
}

#[test]
fn the_newest_version_wins_and_at_a_tie_the_better_suite() {
    let archive = Archive::new(&[
        "Package: a\nVersion: 1.9\n\nPackage: b\nVersion: 5",
        "Package: a\nVersion: 1.10\n\nPackage: b\nVersion: 5",
    ]);
    let resolution = try_resolve(&archive, &["a", "b"], &[]).unwrap();
    assert_eq!(resolution.packages["a"].version.as_str(), "1.10");
    assert_eq!(resolution.packages["b"].origin, 1);
    assert_eq!(chosen(&archive, &["a=1.9"], &[]), "a 1.9");
}

#[test]
fn the_first_alternative_that_is_there() {
    let archive = Archive::new(&[
        "Package: one\nVersion: 1\nDepends: gone | first (>= 2) | second | third\n\n\
         Package: first\nVersion: 1\n\n\
         Package: second\nVersion: 1\n\n\
         Package: third\nVersion: 1",
    ]);
    assert_eq!(chosen(&archive, &["one"], &[]), "one 1, second 1");
    assert_eq!(
        chosen(&archive, &["one", "third"], &[]),
        "one 1, third 1",
        "already there"
    );
}

#[test]
fn real_packages_before_virtual_ones_and_needed_ones_before_others() {
    let archive = Archive::new(&["Package: one\nVersion: 1\nDepends: mta\n\n\
         Package: two\nVersion: 1\nDepends: real\n\n\
         Package: zmail\nVersion: 1\nProvides: mta\nPriority: important\n\n\
         Package: amail\nVersion: 1\nProvides: mta\n\n\
         Package: fake\nVersion: 9\nProvides: real\n\n\
         Package: real\nVersion: 1"]);
    assert_eq!(chosen(&archive, &["one"], &[]), "one 1, zmail 1");
    assert_eq!(chosen(&archive, &["two"], &[]), "real 1, two 1");
    assert_eq!(chosen(&archive, &["one", "amail"], &[]), "amail 1, one 1");
}

#[test]
fn versioned_provisions() {
    let archive = Archive::new(&["Package: one\nVersion: 1\nDepends: abi (>= 2)\n\n\
         Package: old\nVersion: 9\nProvides: abi (= 1)\n\n\
         Package: plain\nVersion: 9\nProvides: abi\n\n\
         Package: right\nVersion: 1\nProvides: abi (= 2.1)"]);
    assert_eq!(chosen(&archive, &["one"], &[]), "one 1, right 1");
}

#[test]
fn the_architecture_qualifier_any() {
    let archive = Archive::new(&["Package: one\nVersion: 1\nDepends: python:any\n\n\
         Package: python\nVersion: 3\nMulti-Arch: allowed\n\n\
         Package: two\nVersion: 1\nDepends: strict:any\n\n\
         Package: strict\nVersion: 3"]);
    assert_eq!(chosen(&archive, &["one"], &[]), "one 1, python 3");
    assert_eq!(
        message(&archive, &["two"]),
        "`strict:any` is needed but not to be had because of two"
    );
}

#[test]
fn what_is_excluded_is_recorded_and_not_replaced() {
    let archive = Archive::new(&[
        "Package: one\nVersion: 1\nDepends: debconf (>= 0.5) | debconf-2.0, perl:any, systemd | sysusers, lib\n\n\
         Package: two\nVersion: 1\nDepends: perl\n\n\
         Package: debconf\nVersion: 1\nProvides: debconf-2.0\nDepends: perl\n\n\
         Package: cdebconf\nVersion: 1\nProvides: debconf-2.0\n\n\
         Package: perl\nVersion: 5\nMulti-Arch: allowed\n\n\
         Package: systemd\nVersion: 1\n\nPackage: sysusers\nVersion: 1\n\nPackage: lib\nVersion: 1",
    ]);
    assert_eq!(
        chosen(
            &archive,
            &["one", "two"],
            &["debconf", "perl", "systemd", "unneeded"]
        ),
        "lib 1, one 1, two 1, -debconf (one), -perl (one two), -systemd (one)"
    );
    // What would have been taken before it is still taken.
    assert_eq!(
        chosen(&archive, &["one", "two"], &["sysusers", "debconf", "perl"]),
        "lib 1, one 1, systemd 1, two 1, -debconf (one), -perl (one two)"
    );
}

#[test]
fn a_package_may_come_without_what_it_depends_on() {
    let archive = Archive::new(&[
        "Package: tools\nVersion: 1\nDepends: mount, pam\n\nPackage: pam\nVersion: 1\n\n\
         Package: mount\nVersion: 1\n\nPackage: app\nVersion: 1\nDepends: tools, pam",
    ]);
    let wanted = Wanted {
        packages: &["app".to_owned()],
        exclude: &BTreeSet::new(),
        alone: &BTreeSet::from(["tools".to_owned()]),
    };
    let names: Vec<_> = resolve(&archive, wanted)
        .unwrap()
        .packages
        .into_keys()
        .collect();
    assert_eq!(names, ["app", "pam", "tools"], "what others need stays");
}

#[test]
fn an_excluded_provider_counts_as_the_name() {
    let archive = Archive::new(&["Package: one\nVersion: 1\nDepends: mta\n\n\
         Package: amail\nVersion: 1\nProvides: mta\n\nPackage: bmail\nVersion: 1\nProvides: mta"]);
    assert_eq!(
        chosen(&archive, &["one"], &["amail"]),
        "one 1, -amail (one)"
    );
    assert_eq!(chosen(&archive, &["one"], &["mta"]), "one 1, -mta (one)");
}

#[test]
fn conflicts_lead_to_the_next_possibility() {
    let archive = Archive::new(&["Package: one\nVersion: 1\nDepends: x | y, z\n\n\
         Package: x\nVersion: 1\nConflicts: z (<< 2)\n\n\
         Package: y\nVersion: 1\n\n\
         Package: z\nVersion: 1"]);
    assert_eq!(chosen(&archive, &["one"], &[]), "one 1, y 1, z 1");
    let archive = Archive::new(&["Package: app\nVersion: 1\nDepends: lib, plugin\n\n\
         Package: lib\nVersion: 2\n\nPackage: lib\nVersion: 1\n\n\
         Package: plugin\nVersion: 1\nDepends: lib (<< 2)"]);
    assert_eq!(
        chosen(&archive, &["app"], &[]),
        "app 1, lib 1, plugin 1",
        "an older version"
    );
}

#[test]
fn breaks_of_other_versions_do_not_matter() {
    let archive = Archive::new(&[
        "Package: a\nVersion: 1\nBreaks: b (<< 2)\nConflicts: virtual\nProvides: virtual\n\n\
         Package: b\nVersion: 2",
    ]);
    assert_eq!(chosen(&archive, &["a", "b"], &[]), "a 1, b 2");
}

#[test]
fn errors_tell_who_needs_what() {
    let archive = Archive::new(&["Package: app\nVersion: 1\nDepends: middle\n\n\
         Package: middle\nVersion: 1\nDepends: gone (>= 3) | lost\n\n\
         Package: gone\nVersion: 2\n\n\
         Package: left\nVersion: 1\nConflicts: right\n\nPackage: right\nVersion: 2\n\n\
         Package: both\nVersion: 1\nDepends: right\n\n\
         Package: redis-server\nVersion: 5:7\n\nPackage: redis-tools\nVersion: 5:7"]);
    for (wanted, expected) in [
        (
            &["app"][..],
            "`gone (>= 3) | lost` is needed but not to be had because of app → middle",
        ),
        (
            &["left", "both"],
            "`right 2` and `left 1` cannot be installed together because of both; `left 1` is there because it was asked for",
        ),
        (
            &["redis-sever"],
            "there is no package `redis-sever`; did you mean `redis-server`?",
        ),
        (
            &["redis"],
            "there is no package `redis`; did you mean `redis-tools` or `redis-server`?",
        ),
        (
            &["nothing-like-it"],
            "there is no package `nothing-like-it`",
        ),
        (&["app=7"], "there is no version 7 of `app`; there is 1"),
        (
            &["a b"],
            "`a b` is not a package: expected `name` or `name=version`",
        ),
        (
            &["app (>= 1)"],
            "`app (>= 1)` is not a package: expected `name` or `name=version`",
        ),
    ] {
        assert_eq!(message(&archive, wanted), expected);
    }
}

#[test]
fn a_hopeless_request_ends() {
    // 2^30 ways, none of which works.
    let mut text = String::from("Package: top\nVersion: 1\nDepends: ");
    text.push_str(
        &(0..30)
            .map(|n| format!("a{n} | b{n}"))
            .collect::<Vec<_>>()
            .join(", "),
    );
    text.push_str(", gone");
    for n in 0..30 {
        text.push_str(&format!(
            "\n\nPackage: a{n}\nVersion: 1\n\nPackage: b{n}\nVersion: 1"
        ));
    }
    let archive = Archive::new(&[&text]);
    let expected = "`gone` is needed but not to be had because of top";
    assert_eq!(message(&archive, &["top"]), expected);
}
