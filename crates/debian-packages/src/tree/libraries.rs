//! Whether every program finds its loader and its libraries in the image: what
//! is missing fails the build instead of the pod.

use std::collections::BTreeSet;

use super::merge::Unpacked;
use super::rules::Rules;
use super::{EntryPath, Node, NodeKind, Tree, TreeError, TreeOptions};
use crate::elf::{self, Machine, Needs};
use crate::relation::parse_groups;

/// A library or loader that is not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingLibrary {
    /// What is missing, e.g. `libpq.so.5`, or the path of a loader.
    pub library: String,
    /// The program or library that needs it.
    pub program: String,
    /// The package that very likely has it.
    pub package: Option<String>,
}

/// Checks all programs and libraries of the tree.
pub(super) fn check(
    tree: &Tree,
    packages: &[Unpacked],
    options: &TreeOptions,
) -> Result<(), TreeError> {
    let unchecked = Rules::new(options.unchecked.iter().map(String::as_str))?;
    let mut missing = BTreeSet::new();
    for (path, node) in &tree.nodes {
        let NodeKind::File { content, .. } = &node.kind else {
            continue;
        };
        if unchecked.matches(path.as_str()) || !elf::is_elf(content).map_err(TreeError::Spool)? {
            continue;
        }
        let Some(needs) = elf::needs(content).map_err(TreeError::Spool)? else {
            continue;
        };
        for library in unmet(tree, path, &needs)? {
            missing.insert(MissingLibrary {
                package: provider(&library, node, (packages, &options.left_out)),
                library,
                program: format!("/{path}"),
            });
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(TreeError::Libraries(missing.into_iter().collect())),
    }
}

/// One line each: what, for whom, and where it may be found.
pub(super) fn list(missing: &[MissingLibrary]) -> String {
    let mut text = "libraries are missing in the image:".to_owned();
    for MissingLibrary {
        library,
        program,
        package,
    } in missing
    {
        text.push_str(&format!("\n  {library}, which {program} needs"));
        if let Some(package) = package {
            text.push_str(&format!(" (in the package {package})"));
        }
    }
    text
}

fn unmet(tree: &Tree, program: &EntryPath, needs: &Needs) -> Result<Vec<String>, TreeError> {
    let mut unmet = Vec::new();
    for library in &needs.libraries {
        if !has_library(tree, program, needs, library)? {
            unmet.push(library.clone());
        }
    }
    if let Some(loader) = &needs.loader
        && !is_for(tree, loader, needs.machine)?
    {
        unmet.push(loader.clone());
    }
    Ok(unmet)
}

/// Where the loader looks: the program's own folders, then those that are built
/// into Debian's loader. There is no `ld.so.cache` that would add to these.
fn has_library(
    tree: &Tree,
    program: &EntryPath,
    needs: &Needs,
    library: &str,
) -> Result<bool, TreeError> {
    if library.contains('/') {
        return is_for(tree, library, needs.machine);
    }
    let origin = program
        .as_str()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let triplet = needs.machine.triplet().unwrap_or_default();
    let own = needs.search.iter().map(|folder| {
        let origin = format!("/{origin}");
        let folder = folder
            .replace("${ORIGIN}", &origin)
            .replace("$ORIGIN", &origin);
        folder
            .replace("${LIB}", &format!("lib/{triplet}"))
            .replace("$LIB", &format!("lib/{triplet}"))
    });
    let built_in = [
        format!("/lib/{triplet}"),
        format!("/usr/lib/{triplet}"),
        "/lib".to_owned(),
        "/usr/lib".to_owned(),
    ];
    for folder in own.chain(built_in) {
        if is_for(tree, &format!("{folder}/{library}"), needs.machine)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a path leads to a library for this machine.
fn is_for(tree: &Tree, path: &str, machine: Machine) -> Result<bool, TreeError> {
    let Some((_, node)) = tree.follow(path) else {
        return Ok(false);
    };
    let NodeKind::File { content, .. } = &node.kind else {
        return Ok(false);
    };
    let needs = elf::needs(content).map_err(TreeError::Spool)?;
    Ok(needs.is_some_and(|needs| needs.machine == machine))
}

/// Of what the program's package depends on and what is not there, the package
/// that is named after the library, or the only one.
fn provider(
    library: &str,
    program: &Node,
    (packages, left_out): (&[Unpacked], &[String]),
) -> Option<String> {
    let owners = packages
        .iter()
        .filter(|package| program.packages.contains(&package.name));
    let absent: BTreeSet<String> = owners
        .flat_map(|package| {
            let fields =
                ["Pre-Depends", "Depends"].map(|name| package.field(name).unwrap_or_default());
            fields.map(|field| parse_groups(field).unwrap_or_default())
        })
        .flatten()
        .flat_map(|group| group.0)
        .map(|relation| relation.name)
        .filter(|name| !packages.iter().any(|package| package.name == *name))
        .collect();
    let named_after = package_names(library);
    let known = absent.iter().chain(left_out);
    let mut fitting = known.filter(|name| {
        named_after
            .iter()
            .any(|start| name.starts_with(start.as_str()))
    });
    match (fitting.next(), absent.len()) {
        (Some(name), _) => Some(name.clone()),
        (None, 1) => absent.first().cloned(),
        (None, _) => None,
    }
}

/// `libpq.so.5` is in `libpq5`, `libldap-2.5.so.0` in `libldap-2.5-0` (policy 8.1).
fn package_names(library: &str) -> Vec<String> {
    let (stem, version) = library.split_once(".so").unwrap_or((library, ""));
    let version = version.trim_start_matches('.');
    let stem = stem.to_lowercase().replace('_', "-");
    let separator = if stem.ends_with(|c: char| c.is_ascii_digit()) && !version.is_empty() {
        "-"
    } else {
        ""
    };
    let mut names = vec![format!("{stem}{separator}{version}")];
    if let Some((name, number)) = stem.rsplit_once('-') {
        // `libLLVM-14.so.1` is in `libllvm14`.
        names.push(format!("{name}{number}"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_after_their_libraries() {
        for (library, package) in [
            ("libpq.so.5", "libpq5"),
            ("libldap-2.5.so.0", "libldap-2.5-0"),
            ("libLLVM-14.so.1", "libllvm14"),
            ("libstdc++.so.6", "libstdc++6"),
            ("libgcc_s.so.1", "libgcc-s1"),
        ] {
            let names = package_names(library);
            assert!(names.iter().any(|name| name == package), "{names:?}");
        }
    }
}
