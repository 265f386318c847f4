//! Packages that are made here, byte by byte, good and malicious ones.

use std::io::Write;

use tar::{Builder, Header};

use super::*;

/// An entry of a test package: path, type, mode, and content or target.
pub(crate) type Raw<'a> = (&'a str, EntryType, u32, &'a [u8]);

pub(crate) const FILE: EntryType = EntryType::Regular;
pub(crate) const FOLDER: EntryType = EntryType::Directory;
pub(crate) const LINK: EntryType = EntryType::Symlink;
pub(crate) const HARD: EntryType = EntryType::Link;

/// A tar archive with paths exactly as given, also those that no tool would write.
pub(crate) fn tar(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for &(path, kind, mode, text) in entries {
        let mut header = Header::new_gnu();
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let content: &[u8] = if is_link { &[] } else { text };
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        if is_link {
            header.as_mut_bytes()[157..157 + text.len()].copy_from_slice(text);
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    for (name, content) in members {
        writeln!(
            file,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
            0,
            0,
            0,
            "100644",
            content.len()
        )
        .unwrap();
        file.extend_from_slice(content);
        if content.len() % 2 == 1 {
            file.push(b'\n');
        }
    }
    file
}

/// A whole package with these control fields.
pub(crate) fn deb(control: &str, entries: &[Raw<'_>]) -> Vec<u8> {
    let control = tar(&[("./control", FILE, 0o644, format!("{control}\n").as_bytes())]);
    let members: [(&str, &[u8]); 3] = [
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control),
        ("data.tar", &tar(entries)),
    ];
    ar(&members)
}

fn open(bytes: &[u8]) -> Result<Deb, DebError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Deb::open(file.path())
}

fn entries(bytes: &[u8], keep: &dyn Fn(&str) -> bool) -> Result<Vec<Entry>, DebError> {
    let mut spool = Spool::new(tempfile::tempfile().unwrap());
    open(bytes)?.entries(&mut spool, keep)
}

/// One line an entry, with owner and content.
fn listing(bytes: &[u8], keep: &dyn Fn(&str) -> bool) -> Vec<String> {
    let show = |entry: Entry| {
        let kind = match &entry.kind {
            EntryKind::Directory => "/".to_owned(),
            EntryKind::Symlink { target } => format!(" -> {target}"),
            EntryKind::File { size, content } => {
                let mut text = String::new();
                content.reader().unwrap().read_to_string(&mut text).unwrap();
                format!(" {size} {text}")
            }
        };
        format!(
            "{:o} {}:{} {}{kind}",
            entry.mode, entry.uid, entry.gid, entry.path
        )
    };
    entries(bytes, keep)
        .unwrap()
        .into_iter()
        .map(show)
        .collect()
}

const CONTROL: &str = "Package: p\nVersion: 1";

#[test]
fn entries_keep_modes_owners_and_links() {
    let package = deb(
        CONTROL,
        &[
            ("./", FOLDER, 0o755, b""),
            ("./usr/", FOLDER, 0o755, b""),
            ("./usr/su", FILE, 0o4755, b"hi"),
            ("./usr/link", LINK, 0o777, b"/etc/x"),
            ("./usr/hard", HARD, 0o4755, b"./usr/su"),
        ],
    );
    assert_eq!(
        listing(&package, &|_| true),
        [
            "755 7:8 usr/",
            "4755 7:8 usr/su 2 hi",
            "777 7:8 usr/link -> /etc/x",
            "4755 7:8 usr/hard 2 hi"
        ]
    );
    assert_eq!(
        open(&package).unwrap().control().unwrap().paragraph,
        format!("{CONTROL}\n")
    );
}

#[test]
fn a_hard_link_has_its_content_though_the_file_is_left_out() {
    let package = deb(
        CONTROL,
        &[("./a", FILE, 0o644, b"text"), ("./b", HARD, 0o644, b"./a")],
    );
    assert_eq!(listing(&package, &|path| path == "b"), ["644 7:8 b 4 text"]);
}

#[test]
fn all_compressions_that_debian_has_used() {
    let (control, data) = (
        tar(&[("control", FILE, 0o644, CONTROL.as_bytes())]),
        tar(&[("a", FILE, 0o644, b"text")]),
    );
    let xz = |bytes: &[u8]| {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let gz = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zst = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let package = |extension: &str, pack: &dyn Fn(&[u8]) -> Vec<u8>| {
        ar(&[
            ("debian-binary", b"2.0\n"),
            ("_ignored", b"x"),
            (&format!("control.tar{extension}"), &pack(&control)),
            (&format!("data.tar{extension}"), &pack(&data)),
        ])
    };
    for package in [
        package(".xz", &xz),
        package(".gz", &gz),
        package(".zst", &zst),
        package("", &|b| b.to_vec()),
    ] {
        assert_eq!(listing(&package, &|_| true), ["644 7:8 a 4 text"]);
        assert_eq!(
            open(&package).unwrap().control().unwrap().paragraph,
            CONTROL
        );
    }
    let odd = package(".bz2", &|bytes| bytes.to_vec());
    assert!(
        matches!(entries(&odd, &|_| true), Err(DebError::Compression(name)) if name == "data.tar.bz2")
    );
    let mut damaged = package(".xz", &xz);
    let last = damaged.len() - 60;
    damaged[last] ^= 1;
    assert!(matches!(
        entries(&damaged, &|_| true),
        Err(DebError::Read { .. })
    ));
}

#[test]
fn paths_that_lead_out_of_the_image_are_refused() {
    for path in [
        "../etc/passwd",
        "./../x",
        "/etc/passwd",
        "./a/../../b",
        "./a//b",
        "./a/./b",
        "./a\nb",
    ] {
        let package = deb(CONTROL, &[(path, FILE, 0o644, b"x")]);
        assert!(
            matches!(entries(&package, &|_| true), Err(DebError::Path(_))),
            "{path:?}"
        );
    }
    let package = deb(CONTROL, &[("./a", HARD, 0o644, b"../../etc/shadow")]);
    assert!(matches!(
        entries(&package, &|_| true),
        Err(DebError::Path(_))
    ));
    let mut package = deb(CONTROL, &[("./a?b", LINK, 0o777, b"x")]);
    let at = package
        .windows(5)
        .position(|window| window == b"./a?b")
        .unwrap();
    package[at + 3] = 0xff;
    assert!(
        entries(&package, &|_| true).is_err(),
        "not UTF-8 (and a wrong checksum)"
    );
}

#[test]
fn entries_that_are_no_files_are_refused() {
    for kind in [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
    ] {
        let package = deb(CONTROL, &[("./dev/x", kind, 0o644, b"")]);
        let refused = entries(&package, &|_| true);
        assert!(
            matches!(refused, Err(DebError::Kind { .. } | DebError::Read { .. })),
            "{kind:?}"
        );
    }
    let twice = deb(
        CONTROL,
        &[("./a", FILE, 0o644, b"1"), ("./a", FILE, 0o644, b"2")],
    );
    assert!(matches!(
        entries(&twice, &|_| true),
        Err(DebError::Twice(_))
    ));
    let dangling = deb(CONTROL, &[("./a", HARD, 0o644, b"./gone")]);
    assert!(matches!(
        entries(&dangling, &|_| true),
        Err(DebError::HardLink { .. })
    ));
    let before = deb(
        CONTROL,
        &[("./a", HARD, 0o644, b"./b"), ("./b", FILE, 0o644, b"")],
    );
    assert!(matches!(
        entries(&before, &|_| true),
        Err(DebError::HardLink { .. })
    ));
}

#[test]
fn what_is_no_package_file() {
    let good = deb(CONTROL, &[("./a", FILE, 0o644, b"text")]);
    let (control, data) = (
        tar(&[("control", FILE, 0o644, CONTROL.as_bytes())]),
        tar(&[]),
    );
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("text", b"<html>404</html>".to_vec()),
        ("cut in a header", good[..30].to_vec()),
        ("cut in a member", good[..good.len() - 600].to_vec()),
        (
            "no version",
            ar(&[("control.tar", &control), ("data.tar", &data)]),
        ),
        (
            "old format",
            ar(&[
                ("debian-binary", b"0.9\n"),
                ("control.tar", &control),
                ("data.tar", &data),
            ]),
        ),
        (
            "no data",
            ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control)]),
        ),
        (
            "another order",
            ar(&[
                ("debian-binary", b"2.0\n"),
                ("data.tar", &data),
                ("control.tar", &control),
            ]),
        ),
    ];
    for (name, bytes) in cases {
        assert!(matches!(open(&bytes), Err(DebError::Format(_))), "{name}");
    }
    let mut lying = good.clone();
    lying[8 + 48..8 + 58].copy_from_slice(b"9999999999");
    assert!(matches!(open(&lying), Err(DebError::Format(_))));
    let mut negative = good;
    negative[8 + 48..8 + 58].copy_from_slice(b"-1        ");
    assert!(matches!(open(&negative), Err(DebError::Format(_))));
    let empty = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &data),
        ("data.tar", &data),
    ]);
    assert!(matches!(
        open(&empty).unwrap().control(),
        Err(DebError::Format(_))
    ));
}

#[test]
fn what_unpacks_to_too_much_is_stopped() {
    let bytes = vec![0; 4096];
    let mut bounded = Bounded {
        inner: &bytes[..],
        left: 1000,
    };
    let error = io::copy(&mut bounded, &mut io::sink()).unwrap_err();
    assert!(matches!(
        read_error("data.tar", error),
        DebError::TooLarge(_)
    ));
    let mut enough = Bounded {
        inner: &bytes[..],
        left: 4096,
    };
    assert_eq!(io::copy(&mut enough, &mut io::sink()).unwrap(), 4096);
}

#[test]
fn damage_anywhere_is_an_error_or_harmless() {
    let good = deb(
        CONTROL,
        &[
            ("./usr/", FOLDER, 0o755, b""),
            ("./usr/a", FILE, 0o644, b"text"),
        ],
    );
    for position in (0..good.len()).step_by(7) {
        let mut damaged = good.clone();
        damaged[position] ^= 0x55;
        if let Ok(deb) = open(&damaged) {
            let _ = deb.control();
        }
        let _ = entries(&damaged, &|_| true);
    }
}
