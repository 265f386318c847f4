//! The package database as dpkg keeps it: what scanners for vulnerabilities read.

use std::collections::BTreeMap;

use super::merge::Unpacked;
use super::{EntryPath, Node, Tree};

/// Writes `var/lib/dpkg/status` and, for every package, the list of its files and their hashes.
pub(super) fn add(tree: &mut Tree, packages: &[Unpacked]) {
    let mut status = String::new();
    let mut files = BTreeMap::new();
    for package in packages {
        status.push_str(&paragraph(&package.control.paragraph));
        let base = format!("var/lib/dpkg/info/{}", info_name(package));
        files.insert(format!("{base}.list"), list(tree, package));
        let sums = sums(tree, package);
        if !sums.is_empty() {
            files.insert(format!("{base}.md5sums"), sums);
        }
    }
    if !packages.is_empty() {
        files.insert("var/lib/dpkg/status".to_owned(), status);
    }
    for (path, content) in files {
        let path = EntryPath::parse(&path).expect("names of packages are parts of paths");
        tree.nodes.insert(path, Node::bytes(&content));
    }
}

/// The paragraph with the line that says that the package is installed.
fn paragraph(control: &str) -> String {
    let mut text = String::new();
    for line in control.trim().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
        if line.starts_with("Package:") {
            text.push_str("Status: install ok installed\n");
        }
    }
    text.push('\n');
    text
}

/// Packages that may be there for two architectures have that in their file names.
fn info_name(package: &Unpacked) -> String {
    match package.field("Multi-Arch") {
        Some("same") => format!("{}:{}", package.name, package.architecture),
        _ => package.name.clone(),
    }
}

/// What of the package is in the image.
fn list(tree: &Tree, package: &Unpacked) -> String {
    let mut list = String::from("/.\n");
    for (path, node) in &tree.nodes {
        if node.packages.contains(&package.name) {
            list.push_str(&format!("/{path}\n"));
        }
    }
    list
}

fn sums(tree: &Tree, package: &Unpacked) -> String {
    let is_here = |line: &&str| {
        let path = line
            .split_once("  ")
            .and_then(|(_, path)| EntryPath::parse(path));
        let node = path.and_then(|path| tree.nodes.get(&path.merged()));
        node.is_some_and(|node| node.packages.contains(&package.name))
    };
    let lines = package.control.md5sums.lines().filter(is_here);
    lines.map(|line| format!("{line}\n")).collect()
}
