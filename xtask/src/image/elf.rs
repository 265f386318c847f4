//! Which shared libraries the programs of a root file system need, and whether
//! they are in it: a missing one fails the build instead of the pod.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Fails when a program or library below `rootfs` needs a library or a loader that is not there.
pub(crate) fn check_libraries(rootfs: &Path) -> Result<()> {
    let mut files = Vec::new();
    walk(rootfs, &mut files)?;
    let present = library_names(rootfs, &files);
    let mut missing = BTreeSet::new();
    for file in &files {
        let Ok(meta) = file.symlink_metadata() else {
            continue;
        };
        if !meta.is_file() {
            continue;
        }
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let Some(needs) = needs(&bytes) else { continue };
        let shown = file.strip_prefix(rootfs).unwrap_or(file).display();
        for library in needs.libraries {
            if !present.contains(&library) {
                missing.insert(format!("{library} (for {shown})"));
            }
        }
        if let Some(loader) = needs.loader
            && !rootfs.join(loader.trim_start_matches('/')).is_file()
        {
            missing.insert(format!("{loader} (for {shown})"));
        }
    }
    if !missing.is_empty() {
        let list: Vec<_> = missing.into_iter().collect();
        bail!("packages.list lacks libraries:\n  {}", list.join("\n  "));
    }
    Ok(())
}

/// The loader of a program, and the libraries that it or a library names.
#[derive(Debug, PartialEq)]
struct Needs {
    loader: Option<String>,
    libraries: Vec<String>,
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Names in the folders that the loader searches: /usr/lib and `/usr/lib/TRIPLET`.
fn library_names(rootfs: &Path, files: &[PathBuf]) -> BTreeSet<String> {
    let searched = |folder: &Path| {
        let relative = folder.strip_prefix(rootfs).unwrap_or(folder);
        let parts: Vec<_> = relative.iter().filter_map(|part| part.to_str()).collect();
        match parts.as_slice() {
            ["usr", "lib" | "lib64"] => true,
            ["usr", "lib", triplet] => triplet.contains("-linux-gnu"),
            _ => false,
        }
    };
    files
        .iter()
        // A link whose target is not there does not count.
        .filter(|file| file.exists() && file.parent().is_some_and(searched))
        .filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()))
        .collect()
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// What a 64-bit little-endian ELF file needs; `None` for any other file.
///
/// Layout: System V ABI, "Program Header" and "Dynamic Section".
fn needs(file: &[u8]) -> Option<Needs> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let segments = segments(file)?;
    let find = |kind| segments.iter().find(|segment| segment.kind == kind);
    let loader = match find(PT_INTERP) {
        Some(segment) => Some(text(file, segment.offset)?),
        None => None,
    };
    let mut libraries = Vec::new();
    if let Some(dynamic) = find(PT_DYNAMIC) {
        let entries = dynamic_entries(file, dynamic)?;
        let address = entries.iter().find(|entry| entry.0 == DT_STRTAB)?.1;
        let names = segments
            .iter()
            .find(|s| s.kind == PT_LOAD && (s.address..s.address + s.size).contains(&address))
            .map(|segment| address - segment.address + segment.offset)?;
        for (_, name) in entries.iter().filter(|entry| entry.0 == DT_NEEDED) {
            libraries.push(text(file, names + name)?);
        }
    }
    Some(Needs { loader, libraries })
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    let table = u64_at(file, 32)?;
    let (size, count) = (u16_at(file, 54)?, u16_at(file, 56)?);
    (0..u64::from(count))
        .map(|index| {
            let header = table + index * u64::from(size);
            Some(Segment {
                kind: u32::try_from(u64_at(file, header)? & 0xffff_ffff).ok()?,
                offset: u64_at(file, header + 8)?,
                address: u64_at(file, header + 16)?,
                size: u64_at(file, header + 32)?,
            })
        })
        .collect()
}

/// The (tag, value) pairs of the dynamic section.
fn dynamic_entries(file: &[u8], dynamic: &Segment) -> Option<Vec<(u64, u64)>> {
    (0..dynamic.size / 16)
        .map(|index| {
            let entry = dynamic.offset + index * 16;
            Some((u64_at(file, entry)?, u64_at(file, entry + 8)?))
        })
        .collect()
}

fn text(file: &[u8], offset: u64) -> Option<String> {
    let rest = file.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

fn u64_at(file: &[u8], offset: u64) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    let bytes = file.get(start..start.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn u16_at(file: &[u8], start: usize) -> Option<u16> {
    let bytes = file.get(start..start + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test binary itself is a dynamic program, on every glibc machine.
    #[test]
    fn reads_the_needs_of_a_real_program() {
        let program = fs::read("/proc/self/exe").expect("a process can read its program");
        let needs = needs(&program).expect("an ELF program");
        assert!(
            needs.libraries.iter().any(|name| name == "libc.so.6"),
            "{needs:?}"
        );
        assert!(
            needs
                .loader
                .is_some_and(|loader| loader.contains("ld-linux"))
        );
    }

    #[test]
    fn other_and_cut_off_files_are_no_programs() {
        let program = fs::read("/proc/self/exe").expect("a process can read its program");
        assert_eq!(needs(b"#!/bin/sh\n"), None);
        assert_eq!(needs(&program[..40]), None);
        assert_eq!(needs(&program[..100]), None);
    }

    #[test]
    fn a_library_that_is_not_there_is_named_with_its_user() {
        let rootfs = std::env::temp_dir().join(format!("xtask-elf-{}", std::process::id()));
        fs::create_dir_all(rootfs.join("usr/bin")).expect("a temporary folder");
        fs::copy("/proc/self/exe", rootfs.join("usr/bin/program")).expect("a copy");
        let message = check_libraries(&rootfs)
            .expect_err("no libraries")
            .to_string();
        fs::remove_dir_all(&rootfs).expect("ours");
        assert!(
            message.contains("libc.so.6 (for usr/bin/program)"),
            "{message}"
        );
    }
}
