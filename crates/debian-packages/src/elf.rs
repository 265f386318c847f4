//! What a program or library asks the loader for.
//!
//! Layout: System V ABI, "ELF Header", "Program Header" and "Dynamic Section".

use std::io;

use crate::content::Content;

/// The needs of an ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// `e_machine` and class: libraries of another kind do not count.
    pub(crate) machine: Machine,
    /// The path of the loader, of programs only.
    pub(crate) loader: Option<String>,
    /// The names of the libraries.
    pub(crate) libraries: Vec<String>,
    /// Where else they are looked for, in the loader's order.
    pub(crate) search: Vec<String>,
}

/// The kind of machine that a file is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    number: u16,
    wide: bool,
}

impl Machine {
    /// The folder of its libraries below `usr/lib` in Debian.
    pub(crate) fn triplet(self) -> Option<&'static str> {
        Some(match (self.number, self.wide) {
            (62, true) => "x86_64-linux-gnu",
            (62, false) => "x86_64-linux-gnux32",
            (183, true) => "aarch64-linux-gnu",
            (3, _) => "i386-linux-gnu",
            (40, _) => "arm-linux-gnueabihf",
            (21, true) => "powerpc64le-linux-gnu",
            (22, true) => "s390x-linux-gnu",
            (243, true) => "riscv64-linux-gnu",
            (258, true) => "loongarch64-linux-gnu",
            _ => return None,
        })
    }
}

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Tables longer than this are not what they say they are.
const LONGEST_TABLE: u64 = 64 << 20;

/// Whether a file is an ELF file at all.
pub(crate) fn is_elf(content: &Content) -> io::Result<bool> {
    Ok(content.start(4)? == b"\x7fELF")
}

/// The needs of a program or library; `None` for anything else, also for object
/// files, kernel modules, separate debug information and what is cut off.
pub(crate) fn needs(content: &Content) -> io::Result<Option<Needs>> {
    let Some(file) = Elf::open(content)? else {
        return Ok(None);
    };
    let Some(segments) = file.segments()? else {
        return Ok(None);
    };
    let find = |kind| segments.iter().find(|segment| segment.kind == kind);
    let mut needs = Needs {
        machine: file.machine,
        ..Needs::default()
    };
    if let Some(segment) = find(PT_INTERP) {
        let Some(bytes) = file.table(segment.offset, segment.size)? else {
            return Ok(None);
        };
        needs.loader = Some(text(&bytes, 0));
    }
    if let Some(dynamic) = find(PT_DYNAMIC)
        && !file.read_dynamic(dynamic, &segments, &mut needs)?
    {
        return Ok(None);
    }
    Ok(Some(needs))
}

/// A file with its header read: all numbers are read through it.
struct Elf<'a> {
    content: &'a Content,
    machine: Machine,
    big_endian: bool,
    segments: u64,
    segment_size: usize,
    segment_count: usize,
}

struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

impl<'a> Elf<'a> {
    fn open(content: &'a Content) -> io::Result<Option<Self>> {
        let header = content.start(64)?;
        if header.len() < 52 || !header.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let (wide, big_endian) = (header[4] == 2, header[5] == 2);
        if wide && header.len() < 64 {
            return Ok(None);
        }
        let mut elf = Self {
            content,
            machine: Machine { number: 0, wide },
            big_endian,
            segments: 0,
            segment_size: 0,
            segment_count: 0,
        };
        elf.machine.number = elf.number(&header, 18, 2) as u16;
        let [table, size, count] = if wide { [32, 54, 56] } else { [28, 42, 44] };
        elf.segments = elf.number(&header, table, elf.word());
        elf.segment_size = elf.number(&header, size, 2) as usize;
        elf.segment_count = elf.number(&header, count, 2) as usize;
        let least = if wide { 56 } else { 32 };
        Ok((elf.segment_count == 0 || elf.segment_size >= least).then_some(elf))
    }

    fn segments(&self) -> io::Result<Option<Vec<Segment>>> {
        let size = self.segment_size * self.segment_count;
        let Some(table) = self.table(self.segments, size as u64)? else {
            return Ok(None);
        };
        let word = self.word();
        let [offset, address, length] = if self.machine.wide {
            [8, 16, 32]
        } else {
            [4, 8, 16]
        };
        let segments = table
            .chunks_exact(self.segment_size.max(1))
            .map(|header| Segment {
                kind: self.number(header, 0, 4),
                offset: self.number(header, offset, word),
                address: self.number(header, address, word),
                size: self.number(header, length, word),
            });
        Ok(Some(segments.collect()))
    }

    /// False where the section makes no sense.
    fn read_dynamic(
        &self,
        dynamic: &Segment,
        segments: &[Segment],
        needs: &mut Needs,
    ) -> io::Result<bool> {
        let Some(table) = self.table(dynamic.offset, dynamic.size)? else {
            return Ok(false);
        };
        let word = self.word();
        let entries: Vec<(u64, u64)> = table
            .chunks_exact(2 * word)
            .map(|entry| (self.number(entry, 0, word), self.number(entry, word, word)))
            .take_while(|(tag, _)| *tag != 0)
            .collect();
        let value = |wanted| {
            entries
                .iter()
                .find(|(tag, _)| *tag == wanted)
                .map(|(_, value)| *value)
        };
        let Some(address) = value(DT_STRTAB) else {
            return Ok(entries.iter().all(|(tag, _)| *tag != DT_NEEDED));
        };
        let place = segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (segment.kind == PT_LOAD && inside < segment.size)
                .then(|| segment.offset.saturating_add(inside))
        });
        let (Some(place), Some(size)) = (place, value(DT_STRSZ)) else {
            return Ok(false);
        };
        let Some(names) = self.table(place, size)? else {
            return Ok(false);
        };
        needs.libraries = entries
            .iter()
            .filter(|(tag, _)| *tag == DT_NEEDED)
            .map(|(_, offset)| text(&names, *offset))
            .collect();
        // RPATH is passed over where there is a RUNPATH.
        let search = value(DT_RUNPATH).or_else(|| value(DT_RPATH));
        let search = search.map_or_else(String::new, |offset| text(&names, offset));
        needs.search = search
            .split(':')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect();
        Ok(true)
    }

    fn table(&self, offset: u64, size: u64) -> io::Result<Option<Vec<u8>>> {
        match usize::try_from(size) {
            Ok(length) if size <= LONGEST_TABLE => self.content.part(offset, length),
            _ => Ok(None),
        }
    }

    /// The number of `size` bytes at `start`, which lies inside `bytes`.
    fn number(&self, bytes: &[u8], start: usize, size: usize) -> u64 {
        let digits = bytes.get(start..start + size).unwrap_or_default();
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self.big_endian {
            true => digits.iter().fold(0, join),
            false => digits.iter().rev().fold(0, join),
        }
    }

    fn word(&self) -> usize {
        if self.machine.wide { 8 } else { 4 }
    }
}

fn text(bytes: &[u8], offset: u64) -> String {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = bytes.get(start..).unwrap_or_default();
    let end = rest
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end]).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A little-endian 64-bit file for x86-64 with these needs, as a linker would write it.
    pub(crate) fn program(
        loader: Option<&str>,
        libraries: &[&str],
        runpath: Option<&str>,
    ) -> Vec<u8> {
        let mut names = vec![0];
        let mut dynamic = Vec::new();
        let mut add = |tag: u64, text: &str| {
            dynamic.push((tag, names.len() as u64));
            names.extend(text.as_bytes());
            names.push(0);
        };
        for library in libraries {
            add(DT_NEEDED, library);
        }
        if let Some(path) = runpath {
            add(DT_RUNPATH, path);
        }
        const BASE: u64 = 0x1000;
        let interp = [loader.unwrap_or_default().as_bytes(), b"\0"].concat();
        let interp_at = 64 + 3 * 56;
        let names_at = interp_at + interp.len() as u64;
        let dynamic_at = names_at + names.len() as u64;
        dynamic.extend([
            (DT_STRTAB, BASE + names_at),
            (DT_STRSZ, names.len() as u64),
            (0, 0),
        ]);
        let total = dynamic_at + dynamic.len() as u64 * 16;
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([3, 0, 62, 0, 1, 0, 0, 0]);
        file.resize(32, 0);
        file.extend(64u64.to_le_bytes());
        file.resize(54, 0);
        let count: u16 = if loader.is_some() { 3 } else { 2 };
        file.extend(56u16.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.resize(64, 0);
        let segments = [
            (PT_LOAD, 0, BASE, total),
            (
                PT_DYNAMIC,
                dynamic_at,
                BASE + dynamic_at,
                dynamic.len() as u64 * 16,
            ),
            (PT_INTERP, interp_at, BASE + interp_at, interp.len() as u64),
        ];
        for (kind, offset, address, size) in segments {
            file.extend((kind as u32).to_le_bytes());
            file.extend([0; 4]);
            for number in [offset, address, 0, size, size, 1] {
                file.extend(u64::to_le_bytes(number));
            }
        }
        file.extend(interp);
        file.extend(names);
        for (tag, value) in dynamic {
            file.extend(tag.to_le_bytes());
            file.extend(value.to_le_bytes());
        }
        file
    }

    fn of(bytes: &[u8]) -> Option<Needs> {
        needs(&Content::Bytes(bytes.into())).unwrap()
    }

    #[test]
    fn loader_libraries_and_folders() {
        let file = program(
            Some("/lib64/ld.so"),
            &["libc.so.6", "libz.so.1"],
            Some("$ORIGIN/../lib:/opt"),
        );
        let needs = of(&file).unwrap();
        assert_eq!(needs.loader.as_deref(), Some("/lib64/ld.so"));
        assert_eq!(needs.libraries, ["libc.so.6", "libz.so.1"]);
        assert_eq!(needs.search, ["$ORIGIN/../lib", "/opt"]);
        assert_eq!(needs.machine.triplet(), Some("x86_64-linux-gnu"));
        assert_eq!(of(&program(None, &[], None)).unwrap().loader, None);
    }

    /// This test is itself a program, made by a real linker.
    #[test]
    fn a_real_program() {
        let content = Content::Path("/proc/self/exe".into());
        assert!(is_elf(&content).unwrap());
        let needs = needs(&content).unwrap().unwrap();
        assert!(
            needs.libraries.iter().all(|name| name.contains(".so")),
            "{needs:?}"
        );
        assert_eq!(needs.loader.is_some(), !needs.libraries.is_empty());
    }

    #[test]
    fn other_and_damaged_files_need_nothing() {
        let file = program(Some("/lib64/ld.so"), &["libc.so.6"], None);
        assert_eq!(of(b"#!/bin/sh\n"), None);
        for length in [4, 40, 63, 100, file.len() - 1] {
            assert_eq!(of(&file[..length]), None, "{length}");
        }
        for position in 0..file.len() {
            let mut damaged = file.clone();
            damaged[position] ^= 0xff;
            let _ = of(&damaged); // does not panic
        }
    }
}
