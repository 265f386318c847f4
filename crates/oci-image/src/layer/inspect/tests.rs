//! Attacks by hand, layers as others write them, and random ones.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use tar::Header;

use super::*;
use crate::{
    Compression, ImageConfig, LayerSink, LayerWriter, Layout, Platform, RunConfig, StoredImage,
    media_type,
};

/// A header with the right checksum.
fn raw(kind: u8, path: &[u8], target: &[u8], size: u64) -> Header {
    let mut header = Header::new_ustar();
    let fields = header.as_old_mut();
    fields.name[..path.len()].copy_from_slice(path);
    fields.linkname[..target.len()].copy_from_slice(target);
    fields.linkflag = [kind];
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    content
}

/// An entry with its content.
fn entry(kind: u8, path: &str, target: &str, content: &[u8]) -> Vec<u8> {
    let header = raw(
        kind,
        path.as_bytes(),
        target.as_bytes(),
        content.len() as u64,
    );
    [header.as_bytes().to_vec(), padded(content)].concat()
}

fn file(path: &str) -> Vec<u8> {
    entry(b'0', path, "", b"content")
}

fn folder(path: &str) -> Vec<u8> {
    entry(b'5', path, "", b"")
}

fn link(path: &str, target: &str) -> Vec<u8> {
    entry(b'2', path, target, b"")
}

fn hard(path: &str, target: &str) -> Vec<u8> {
    entry(b'1', path, target, b"")
}

fn empty_file(path: &str) -> Vec<u8> {
    entry(b'0', path, "", b"")
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        // The length counts its own digits.
        let fits = |digits: &usize| (rest.len() + digits).to_string().len() == *digits;
        let length = rest.len() + (1..4).find(fits).unwrap();
        content.extend(format!("{length}{rest}").into_bytes());
    }
    entry(b'x', "PaxHeader", "", &content)
}

fn ended(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = entries.concat();
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn limits() -> LayerLimits {
    LayerLimits {
        entries: 100,
        content: 1 << 20,
        devices: false,
    }
}

fn inspect(tar: &[u8]) -> Result<LayerContent, LayerRefused> {
    inspect_layer(tar, Digest::of(tar), &limits())
}

/// The reason, with the path it is given for.
fn refusal(tar: &[u8]) -> (String, String) {
    let refused = inspect(tar).unwrap_err();
    assert!(
        refused.to_string().contains(&Digest::of(tar).to_string()),
        "{refused}"
    );
    (
        refused.entry.unwrap_or_default(),
        refused.reason.to_string(),
    )
}

#[test]
fn layers_as_others_write_them_pass() {
    let tar = ended(&[
        entry(b'g', "pax_global_header", "", b"16 comment=abcd\n"),
        folder("./"),
        folder("./usr/"),
        folder("usr/bin"),
        file("./usr/bin/perl"),
        hard("usr/bin/perl5", "usr/bin/perl"),
        hard("usr/bin/perl5.36", "/usr/bin/perl5"),
        link("bin", "usr/bin"),
        link("etc/mtab", "/proc/mounts"),
        link("usr/lib/x", "../../lib/x"),
        folder("usr/"),
        entry(b'6', "run/initctl", "", b""),
        empty_file("var/.wh.cache"),
        empty_file("var/lib/.wh..wh..opq"),
        entry(0, "old", "", b"style"),
        pax(&[
            ("path", "long/name"),
            ("mtime", "1.5"),
            ("SCHILY.xattr.security.capability", "x"),
        ]),
        file("short"),
        entry(b'L', "././@LongLink", "", b"gnu/long/name\0"),
        entry(b'K', "././@LongLink", "", b"gnu/long/target\0"),
        link("short", "short"),
        file("..."),
        file("a..b"),
    ]);
    assert_eq!(
        inspect(&tar).unwrap(),
        LayerContent {
            entries: 18,
            bytes: 7 + 5 + 7 + 7 + 7
        }
    );
    for empty in [&b""[..], &[0; 512], &[0; 1024], &[0; 10240]] {
        assert_eq!(inspect(empty).unwrap(), LayerContent::default());
    }
    assert_eq!(
        inspect(&file("a")).unwrap().entries,
        1,
        "some writers leave the end out"
    );
}

#[test]
fn what_this_crate_writes_passes() {
    let mut layer = LayerWriter::new(Vec::new(), 0);
    let long = "folder/".repeat(40) + "file";
    let other = long.clone() + "2";
    layer.directory("etc", 0o755).unwrap();
    layer.symlink("etc/mtab", "/proc/mounts").unwrap();
    layer.file(&long, 0o4755, 1, &b"x"[..]).unwrap();
    layer.hard_link(&other, &long, 0o4755).unwrap();
    let tar = layer.finish().unwrap();
    assert_eq!(inspect(&tar).unwrap().entries, 4);
}

#[test]
fn paths_that_lead_out_are_refused() {
    for (path, reason) in [
        ("/etc/passwd", "is absolute"),
        ("//x", "is absolute"),
        ("../x", "`..`"),
        ("a/../../x", "`..`"),
        ("a/..", "`..`"),
        ("..", "`..`"),
        ("", "is empty"),
        (".", "is empty"),
        ("a/", "ends with /"),
    ] {
        let (entry, found) = refusal(&ended(&[file(path)]));
        assert!(found.contains(reason), "{path}: {found}");
        assert!(
            path.trim_end_matches('/')
                .ends_with(entry.trim_end_matches('/')),
            "{path}: {entry}"
        );
    }
    for (extension, reason) in [
        (pax(&[("path", "../x")]), "`..`"),
        (pax(&[("path", "/x")]), "is absolute"),
        (pax(&[("path", "a\0b")]), "character"),
        (pax(&[("path", "")]), "empty path"),
        (entry(b'L', "././@LongLink", "", b"../x\0"), "`..`"),
        (
            entry(b'L', "././@LongLink", "", b"ok\0/../../x"),
            "after its end",
        ),
        (entry(b'L', "././@LongLink", "", &[b'a'; 5000]), "too long"),
    ] {
        let (_, found) = refusal(&ended(&[extension, file("harmless")]));
        assert!(found.contains(reason), "{reason}: {found}");
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    for (target, reason) in [
        ("..", "outside"),
        ("../../x", "outside"),
        ("a/../../../x", "outside"),
        ("/../x", "outside"),
        ("", "is empty"),
    ] {
        let (path, found) = refusal(&ended(&[link("link", target)]));
        assert!(found.contains(reason), "{target}: {found}");
        assert_eq!(path, "link");
    }
    assert!(inspect(&ended(&[link("a/b/link", "../../x")])).is_ok());
    assert!(inspect(&ended(&[link("a/b/link", "../../../x")])).is_err());
    for (target, reason) in [
        ("../x", "outside"),
        ("f/../../x", "no file before"),
        ("/etc/shadow", "no file before"),
        ("later", "no file before"),
        ("folder", "no file before"),
        ("symbolic", "no file before"),
        ("symbolic/x", "no file before"),
        ("", "is empty"),
    ] {
        let tar = ended(&[
            folder("folder"),
            link("symbolic", "/"),
            hard("hard", target),
            file("later"),
        ]);
        let (path, found) = refusal(&tar);
        assert!(found.contains(reason), "{target}: {found}");
        assert_eq!(path, "hard");
    }
    let (_, found) = refusal(&ended(&[
        pax(&[("linkpath", "../x")]),
        link("link", "harmless"),
    ]));
    assert!(found.contains("outside"));
}

#[test]
fn nothing_lies_behind_a_link_and_nothing_is_there_twice() {
    for (entries, reason) in [
        (vec![link("a", "/etc"), file("a/passwd")], "through `a`"),
        (vec![link("a", "b"), folder("a/b")], "through `a`"),
        (vec![link("x/a", "/"), file("x/a/b/c")], "through `x/a`"),
        (vec![file("a"), file("a/b")], "through `a`"),
        (vec![file("f"), hard("h", "f"), file("h/x")], "through `h`"),
        (
            vec![file("a/b"), link("a", "/etc"), file("a/passwd")],
            "another entry",
        ),
        (vec![folder("a"), link("a", "/etc")], "another entry"),
        (vec![link("a", "/etc/passwd"), file("a")], "another entry"),
        (vec![link("a", "/etc"), folder("a")], "another entry"),
        (vec![file("a"), file("./a")], "another entry"),
        (vec![file("a"), hard("a", "a")], "another entry"),
        (vec![file("a/b"), file("a//b")], "another entry"),
        (vec![file("a/b"), file("a")], "another entry"),
    ] {
        let (_, found) = refusal(&ended(&entries));
        assert!(found.contains(reason), "{reason}: {found}");
    }
}

#[test]
fn forged_marks_of_removal_are_refused() {
    for tar in [
        empty_file(".wh."),
        empty_file("a/.wh."),
        empty_file(".wh.."),
        empty_file(".wh..."),
        empty_file(".wh./x"),
        empty_file(".wh.x/y"),
        empty_file(".wh..wh."),
        empty_file(".wh..wh.aufs"),
        empty_file(".wh..wh.plnk"),
        empty_file(".wh..wh..opq/x"),
        file(".wh.x"),
        file(".wh..wh..opq"),
        folder(".wh.x"),
        folder(".wh..wh..opq"),
        folder(".wh..wh.plnk"),
        link(".wh.x", "y"),
        link(".wh..wh..opq", "/etc"),
        [empty_file(".wh.x"), hard("y", ".wh.x")].concat(),
        [empty_file("x"), hard(".wh.x", "x")].concat(),
    ] {
        let (path, found) = refusal(&ended(std::slice::from_ref(&tar)));
        assert!(found.contains("forged"), "{path}: {found}");
    }
}

#[test]
fn sizes_that_lie_are_refused() {
    let lying = |kind| {
        raw(kind, b"x", if kind == b'1' { b"f" } else { b"y" }, 512)
            .as_bytes()
            .to_vec()
    };
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let tar = ended(&[file("f"), lying(kind), file("hidden")]);
        let refused = inspect_layer(
            tar.as_slice(),
            Digest::of(b""),
            &LayerLimits {
                devices: true,
                ..limits()
            },
        );
        let reason = refused.unwrap_err().reason.to_string();
        assert!(
            reason.contains("is no file, but says"),
            "{}: {reason}",
            char::from(kind)
        );
    }
    for (extension, reason) in [
        (pax(&[("size", "0")]), "its extension 0"),
        (pax(&[("size", "512")]), "its extension 512"),
        (pax(&[("size", "9000000000")]), "longer than"),
        (pax(&[("size", "-1")]), "number that is none"),
        (
            pax(&[("size", "99999999999999999999")]),
            "number that is none",
        ),
        (pax(&[("GNU.sparse.major", "1")]), "sparse"),
        (pax(&[("GNU.sparse.realsize", "1")]), "sparse"),
    ] {
        let (_, found) = refusal(&ended(&[extension, file("f")]));
        assert!(found.contains(reason), "{reason}: {found}");
    }
    assert!(inspect(&ended(&[pax(&[("size", "7")]), file("f")])).is_ok());

    let mut huge = raw(b'0', b"x", b"", 0);
    huge.set_size(u64::MAX);
    huge.set_cksum();
    let (_, found) = refusal(huge.as_bytes());
    assert!(found.contains("longer than 1048576"), "{found}");
    let mut garbage = raw(b'0', b"x", b"", 0);
    garbage.as_old_mut().size = *b"12x4567890ab";
    garbage.set_cksum();
    assert!(refusal(garbage.as_bytes()).1.contains("size is no number"));
    let cut = file("f");
    for length in [1, 511, 513, 700, 1023] {
        assert_eq!(refusal(&cut[..length]).1, "it is cut off", "{length}");
    }
}

#[test]
fn tricks_with_headers_are_refused() {
    let mut wrong = file("f");
    wrong[0] ^= 1;
    for (tar, reason) in [
        (wrong, "checksum"),
        (b"<html>".repeat(100), "header's checksum is no number"),
        (
            [ended(&[file("a")]), file("hidden")].concat(),
            "follows the end",
        ),
        ([vec![0; 512], file("hidden")].concat(), "follows the end"),
        (ended(&[entry(b'S', "f", "", b"")]), "sparse"),
        (ended(&[entry(b'V', "f", "", b"")]), "type 'V'"),
        (ended(&[entry(b'M', "f", "", b"")]), "type 'M'"),
        (ended(&[entry(b'D', "f", "", b"")]), "type 'D'"),
        (ended(&[entry(200, "f", "", b"")]), "type"),
        (ended(&[entry(b'3', "null", "", b"")]), "device"),
        (ended(&[entry(b'4', "sda", "", b"")]), "device"),
        (ended(&[pax(&[("path", "x")])]), "belongs to no entry"),
        (ended(&[entry(b'L', "", "", b"x")]), "belongs to no entry"),
        (
            ended(&[pax(&[]), pax(&[]), file("f")]),
            "followed by another",
        ),
        (
            ended(&[pax(&[("path", "x"), ("path", "y")]), file("f")]),
            "twice",
        ),
        (
            ended(&[pax(&[("path", "x")]), entry(b'L', "", "", b"y"), file("f")]),
            "twice",
        ),
        (
            ended(&[
                entry(b'L', "", "", b"x"),
                entry(b'L', "", "", b"y"),
                file("f"),
            ]),
            "twice",
        ),
        (
            ended(&[entry(b'g', "", "", b"12 path=../\n"), file("f")]),
            "for all entries",
        ),
        (
            ended(&[entry(b'x', "", "", b"99 path=x\n"), file("f")]),
            "malformed",
        ),
        (
            ended(&[entry(b'x', "", "", b"9 path=x\n\n"), file("f")]),
            "malformed",
        ),
        (ended(&[entry(b'x', "", "", b"0 "), file("f")]), "malformed"),
        (
            ended(&[entry(b'x', "", "", b"path=x"), file("f")]),
            "malformed",
        ),
        (
            ended(&[
                pax(&[("SCHILY.xattr.trusted.overlay.redirect", "/etc")]),
                folder("d"),
            ]),
            "overlay",
        ),
    ] {
        let (_, found) = refusal(&tar);
        assert!(found.contains(reason), "{reason}: {found}");
    }
    let long = [
        raw(b'L', b"", b"", 2 << 20).as_bytes().to_vec(),
        vec![b'a'; 2 << 20],
    ]
    .concat();
    assert!(refusal(&long).1.contains("too long"));
    let devices = LayerLimits {
        devices: true,
        ..limits()
    };
    let tar = ended(&[entry(b'3', "dev/null", "", b"")]);
    assert!(inspect_layer(tar.as_slice(), Digest::of(b""), &devices).is_ok());
}

#[test]
fn there_is_an_end_to_everything() {
    let many: Vec<_> = (0..101).map(|n| empty_file(&n.to_string())).collect();
    assert!(inspect(&ended(&many[..100])).is_ok());
    assert!(refusal(&ended(&many)).1.contains("more than 100 entries"));
    let deep = "a/".repeat(30);
    let nested: Vec<_> = (0..4)
        .map(|n| empty_file(&format!("{n}/{deep}x")))
        .collect();
    assert!(refusal(&ended(&nested)).1.contains("entries and folders"));
    let content = vec![0; 600 << 10];
    let large = ended(&[
        entry(b'0', "a", "", &content),
        entry(b'0', "b", "", &content),
    ]);
    let (path, reason) = refusal(&large);
    assert_eq!((path.as_str(), reason.contains("longer than")), ("b", true));
}

#[test]
fn an_image_is_read_whole_and_its_digests_compared() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    let image = |tar: &[u8], diff_id: Digest, limits: &LayerLimits| {
        let mut sink = LayerSink::new(&layout, Compression::Zstd).unwrap();
        sink.write_all(tar).unwrap();
        let layer = sink.finish().unwrap();
        let config = ImageConfig {
            platform: Platform::linux("amd64"),
            created: 0,
            run: RunConfig::default(),
        };
        let config = config.to_json(&[(diff_id, "test")]);
        let image: StoredImage = layout.add_image(&config, vec![layer.descriptor]).unwrap();
        (inspect_image(&layout, &image, limits), image)
    };
    let good = ended(&[file("a")]);
    assert_eq!(
        image(&good, Digest::of(&good), &limits()).0.unwrap().bytes,
        7
    );
    let other = image(&good, Digest::of(b"x"), &limits()).0.unwrap_err();
    assert!(matches!(other, InspectError::DiffId { .. }), "{other}");
    let bad = ended(&[file("../a")]);
    let (refused, stored) = image(&bad, Digest::of(&bad), &limits());
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, InspectError::Refused(it) if it.layer == stored.manifest.layers[0].digest)
    );
    let bomb = vec![0; 4 << 20];
    let small = LayerLimits {
        entries: 10,
        ..limits()
    };
    let refused = image(&bomb, Digest::of(&bomb), &small).0.unwrap_err();
    assert!(matches!(&refused, InspectError::Refused(it) if matches!(it.reason, Refusal::Read(_))));

    let (_, stored) = image(&good, Digest::of(&good), &limits());
    let blob = &stored.manifest.layers[0];
    assert_eq!(blob.media_type, media_type::LAYER_ZSTD);
    let mut bytes = fs::read(layout.blob_path(&blob.digest)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(layout.blob_path(&blob.digest), bytes).unwrap();
    match inspect_image(&layout, &stored, &limits()).unwrap_err() {
        InspectError::Layout(error) => assert_eq!(error.damaged(), Some(blob)),
        other => panic!("{other}"),
    }
}

/// Writes entries as a reader would that checks nothing, and follows every link the kernel follows.
fn extract_naively(tar: &[u8], root: &Path) {
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let Ok(mut entry) = entry else { return };
        let path = root.join(entry.path().unwrap());
        let target = entry.link_name().unwrap().unwrap_or_default().into_owned();
        let _ = path.parent().map(fs::create_dir_all);
        let _ = match entry.header().entry_type().as_byte() {
            b'5' => fs::create_dir_all(&path),
            b'2' => symlink(&target, &path),
            b'1' => fs::hard_link(
                root.join(target.strip_prefix("/").unwrap_or(&target)),
                &path,
            ),
            _ => File::create(&path)
                .and_then(|mut file| std::io::copy(&mut entry, &mut file))
                .map(drop),
        };
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => prop_oneof![Just("a"), Just("b"), Just("c")],
        1 => prop_oneof![Just(".."), Just("."), Just(""), Just(".wh.a"), Just("outside")],
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

/// Kind, path, target.
fn any_entry() -> impl Strategy<Value = (u8, String, String)> {
    let target = prop_oneof![
        3 => any_path(),
        1 => Just(OUTSIDE.to_owned()),
        1 => Just("../outside".to_owned()),
        1 => Just("../../outside".to_owned()),
    ];
    let kind = prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5')];
    (kind, any_path(), target)
}

/// Stands for the folder beside the root, where nothing may appear.
const OUTSIDE: &str = "OUTSIDE";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_passes_stays_inside_the_root(entries in prop::collection::vec(any_entry(), 1..8)) {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        // What passes is what a reader gets that skips what does not.
        let mut passed: Vec<Vec<u8>> = Vec::new();
        for (kind, path, target) in entries {
            let target = target.replace(OUTSIDE, outside.to_str().unwrap());
            passed.push(match kind {
                b'0' => file(&path),
                kind => entry(kind, &path, &target, b""),
            });
            if inspect(&ended(&passed)).is_err() {
                passed.pop();
            }
        }
        fs::create_dir(&outside).unwrap();
        fs::create_dir(scratch.path().join("root")).unwrap();
        extract_naively(&ended(&passed), &scratch.path().join("root"));
        prop_assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        prop_assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 512), 0..4),
        kinds in prop::collection::vec(any::<u8>(), 4),
        sizes in prop::collection::vec(prop_oneof![Just(0u64), 0..2048u64, any::<u64>()], 4),
    ) {
        let _ = inspect(&blocks.concat());
        // With the right checksum more of it is read.
        for ((block, kind), size) in blocks.iter_mut().zip(kinds).zip(sizes) {
            let mut header = Header::new_ustar();
            header.as_mut_bytes().copy_from_slice(block);
            header.as_old_mut().linkflag = [kind];
            header.set_size(size);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
        let _ = inspect(&blocks.concat());
    }

    #[test]
    fn no_extended_header_makes_it_panic(content in prop::collection::vec(any::<u8>(), 0..200), kind in prop_oneof![Just(b'x'), Just(b'g'), Just(b'L'), Just(b'K')]) {
        let header = raw(kind, b"x", b"", content.len() as u64);
        let tar = [header.as_bytes().to_vec(), padded(&content), file("f")].concat();
        let _ = inspect(&tar);
    }
}
