//! Whether a binary runs in an empty image: just enough of ELF (System V gABI, "Program Header"). Pure.

/// `e_machine` of the processors that are compiled for.
const MACHINES: [(&str, u16); 4] = [
    ("amd64", 62),
    ("arm64", 183),
    ("riscv64", 243),
    ("ppc64le", 21),
];
/// `p_type` of the header that names the dynamic loader.
const PT_INTERP: u32 = 3;

/// Why a binary does not run in an empty image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRunnable {
    /// It is no 64-bit little-endian ELF file.
    #[error("it is no 64-bit ELF executable")]
    NotElf,
    /// It was made for another processor.
    #[error("it was not compiled for {0}")]
    OtherProcessor(String),
    /// It needs a dynamic loader, and with it the C library of a distribution.
    #[error("it is not statically linked: it needs the loader `{0}`")]
    Dynamic(String),
}

/// Checks an executable for `architecture` (`amd64`, `arm64`).
pub(crate) fn check(elf: &[u8], architecture: &str) -> Result<(), NotRunnable> {
    let is_elf64 = elf.starts_with(b"\x7fELF\x02\x01");
    let header = elf
        .get(..64)
        .filter(|_| is_elf64)
        .ok_or(NotRunnable::NotElf)?;
    let machine = number(header, 18, 2) as u16;
    if !MACHINES.contains(&(architecture, machine)) {
        return Err(NotRunnable::OtherProcessor(architecture.to_owned()));
    }
    let (offset, size, count) = (
        number(header, 32, 8),
        number(header, 54, 2),
        number(header, 56, 2),
    );
    for index in 0..count {
        let program =
            slice(elf, offset.saturating_add(index * size), 56).ok_or(NotRunnable::NotElf)?;
        if number(program, 0, 4) as u32 == PT_INTERP {
            let loader = slice(elf, number(program, 8, 8), number(program, 32, 8))
                .ok_or(NotRunnable::NotElf)?;
            let loader = String::from_utf8_lossy(loader);
            return Err(NotRunnable::Dynamic(
                loader.trim_end_matches('\0').to_owned(),
            ));
        }
    }
    Ok(())
}

fn slice(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(start..end)
}

/// Little-endian, of up to 8 bytes.
fn number(bytes: &[u8], offset: usize, length: usize) -> u64 {
    bytes[offset..offset + length]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-byte header with one program header of `kind` behind it, whose content is `loader`.
    fn elf(machine: u16, kind: u32, loader: &[u8]) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18..20].copy_from_slice(&machine.to_le_bytes());
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64..68].copy_from_slice(&kind.to_le_bytes());
        elf[72] = 120;
        elf[96] = loader.len() as u8;
        elf.extend(loader);
        elf
    }

    #[test]
    fn only_static_binaries_for_the_processor_pass() {
        assert_eq!(check(&elf(62, 1, b""), "amd64"), Ok(()));
        assert_eq!(check(&elf(183, 1, b""), "arm64"), Ok(()));
        assert_eq!(
            check(&elf(62, 3, b"/lib64/ld-linux-x86-64.so.2\0"), "amd64"),
            Err(NotRunnable::Dynamic("/lib64/ld-linux-x86-64.so.2".into()))
        );
        assert_eq!(
            check(&elf(183, 1, b""), "amd64"),
            Err(NotRunnable::OtherProcessor("amd64".into()))
        );
        assert_eq!(check(b"#!/bin/sh\n", "amd64"), Err(NotRunnable::NotElf));
        assert_eq!(
            check(&elf(62, 1, b"")[..100], "amd64"),
            Err(NotRunnable::NotElf)
        );
        let mut lying = elf(62, 3, b"x");
        lying[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(check(&lying, "amd64"), Err(NotRunnable::NotElf));
    }

    /// The test binary itself is dynamic on a glibc host.
    #[test]
    fn a_real_binary_is_read() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let architecture = super::super::target::Target::host().platform.architecture;
        let result = check(&own, &architecture);
        if cfg!(target_feature = "crt-static") {
            assert_eq!(result, Ok(()));
        } else {
            assert!(matches!(result, Err(NotRunnable::Dynamic(_))), "{result:?}");
        }
    }
}
