//! The layout as its users see it: what is there, what is refused, and what many at once may do.

use std::fs::{self, FileTimes};
use std::io::Read;

use super::*;
use crate::{ImageConfig, Platform, RunConfig, media_type};

fn empty() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path().join("images")).unwrap();
    (folder, layout)
}

/// An image of one layer that holds these bytes.
fn image(layout: &Layout, architecture: &str, layer: &[u8]) -> StoredImage {
    let config = ImageConfig {
        platform: Platform::linux(architecture),
        created: 0,
        run: RunConfig::default(),
    };
    let blob = layout.add(media_type::LAYER, layer).unwrap();
    let config = config.to_json(&[(Digest::of(layer), "test")]);
    layout.add_image(&config, vec![blob]).unwrap()
}

fn amd64() -> Platform {
    Platform::linux("amd64")
}

fn age(layout: &Layout, blob: &Descriptor, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    let file = File::open(layout.blob_path(&blob.digest)).unwrap();
    file.set_times(FileTimes::new().set_modified(then)).unwrap();
}

fn age_image(layout: &Layout, image: &StoredImage, hours: u64) {
    age(layout, &image.descriptor, hours);
    age(layout, &image.manifest.config, hours);
    image
        .manifest
        .layers
        .iter()
        .for_each(|layer| age(layout, layer, hours));
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn a_new_layout_is_the_one_of_the_specification() {
    let (_folder, layout) = empty();
    let read = |name: &str| fs::read_to_string(layout.root().join(name)).unwrap();
    assert_eq!(read("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(
        read("index.json"),
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#
    );
    assert!(layout.root().join("blobs/sha256").is_dir());
    Layout::open(layout.root()).unwrap();
}

#[test]
fn other_folders_and_versions_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "").unwrap();
    let refused = Layout::open(folder.path()).unwrap_err();
    assert!(matches!(refused, LayoutError::Foreign(_)), "{refused}");
    assert_eq!(files(folder.path()), 1);

    for version in ["", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("oci-layout"), version).unwrap();
        let refused = Layout::open(folder.path()).unwrap_err();
        assert!(matches!(refused, LayoutError::Version(_)), "{refused}");
    }
}

#[test]
fn a_blob_is_there_when_it_is_committed_and_once() {
    let (_folder, layout) = empty();
    let mut writer = layout.writer().unwrap();
    writer.write_all(b"abc").unwrap();
    let blob = Descriptor::of("text/plain", b"abc");
    assert!(!layout.has(&blob));
    assert!(matches!(
        layout.open_blob(&blob),
        Err(LayoutError::Missing { .. })
    ));
    assert_eq!(writer.commit("text/plain").unwrap(), blob);
    assert!(layout.has(&blob));
    assert_eq!(layout.read(&blob).unwrap(), b"abc");

    let inode = |blob: &Descriptor| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(layout.blob_path(&blob.digest)).unwrap().ino()
    };
    let first = inode(&blob);
    let mut again = layout.writer().unwrap();
    again.write_all(b"abc").unwrap();
    again.commit_expected(&blob).unwrap();
    assert_eq!(inode(&blob), first, "not written again");

    let mut dropped = layout.writer().unwrap();
    dropped.write_all(b"half").unwrap();
    drop(dropped);
    assert_eq!(files(&layout.root().join("tmp")), 0);
    assert_eq!(files(&layout.root().join("blobs/sha256")), 1);
}

#[test]
fn what_was_announced_must_come() {
    let (_folder, layout) = empty();
    let announced = Descriptor::of("text/plain", b"abc");
    for content in [&b"abd"[..], b"ab", b"abcd", b""] {
        let mut writer = layout.writer().unwrap();
        writer.write_all(content).unwrap();
        let refused = writer.commit_expected(&announced).unwrap_err();
        assert!(
            matches!(refused, LayoutError::Unexpected { .. }),
            "{refused}"
        );
    }
    assert_eq!(files(&layout.root().join("blobs/sha256")), 0);
}

#[test]
fn damage_is_found_named_and_healed() {
    let (_folder, layout) = empty();
    let blob = layout.add("text/plain", b"abc").unwrap();
    let path = layout.blob_path(&blob.digest);

    fs::write(&path, "ab").unwrap();
    let refused = layout.open_blob(&blob).unwrap_err();
    assert!(
        matches!(refused, LayoutError::WrongSize { actual: 2, .. }),
        "{refused}"
    );
    assert_eq!(refused.damaged(), Some(&blob));
    layout.add("text/plain", b"abc").unwrap();
    assert_eq!(
        layout.read(&blob).unwrap(),
        b"abc",
        "a wrong size is written over"
    );

    fs::write(&path, "abd").unwrap();
    let refused = layout.read(&blob).unwrap_err();
    assert!(matches!(refused, LayoutError::Corrupt { .. }), "{refused}");
    assert!(refused.to_string().contains(&blob.digest.hex()));
    let mut seen = Vec::new();
    let error = layout
        .reader(&blob)
        .unwrap()
        .read_to_end(&mut seen)
        .unwrap_err();
    assert!(error.downcast::<LayoutError>().unwrap().damaged().is_some());
    assert_eq!(seen, b"", "the last bytes come only after the check");

    layout.discard(&blob).unwrap();
    layout.discard(&blob).unwrap();
    assert!(!layout.has(&blob));
    layout.add("text/plain", b"abc").unwrap();
    assert_eq!(layout.read(&blob).unwrap(), b"abc");
}

#[test]
fn names_come_and_go() {
    let (_folder, layout) = empty();
    let (first, second) = (image(&layout, "amd64", b"1"), image(&layout, "amd64", b"2"));
    assert_eq!(layout.resolve("a:1").unwrap(), None);
    layout.tag("a:1", &first.descriptor).unwrap();
    layout.tag("a:2", &first.descriptor).unwrap();
    layout.tag("a:2", &second.descriptor).unwrap();
    assert_eq!(
        layout.resolve("a:1").unwrap(),
        Some(first.descriptor.clone())
    );
    let names = layout.names().unwrap();
    assert_eq!(names.keys().collect::<Vec<_>>(), ["a:1", "a:2"]);
    assert_eq!(names["a:2"], second.descriptor);
    assert!(layout.untag("a:1").unwrap());
    assert!(!layout.untag("a:1").unwrap());
    assert_eq!(layout.names().unwrap().len(), 1);
    for bad in ["", "a b", "a\n", "ä"] {
        let refused = layout.tag(bad, &first.descriptor).unwrap_err();
        assert!(matches!(refused, LayoutError::Name(_)), "{bad}");
    }
}

#[test]
fn an_incomplete_image_gets_no_name() {
    let (_folder, layout) = empty();
    let image = image(&layout, "amd64", b"layer");
    layout.discard(&image.manifest.layers[0]).unwrap();
    let refused = layout.tag("a:1", &image.descriptor).unwrap_err();
    assert_eq!(refused.damaged(), Some(&image.manifest.layers[0]));
    assert_eq!(layout.resolve("a:1").unwrap(), None);
}

#[test]
fn what_others_wrote_into_the_index_stays() {
    let (_folder, layout) = empty();
    let image = image(&layout, "amd64", b"layer");
    let index = serde_json::json!({
        "schemaVersion": 2, "x-other": [1], "annotations": {"made": "by hand"},
        "manifests": [
            {"mediaType": "a/b", "digest": "sha512:00", "size": 1, "urls": ["https://example.com"]},
            {"mediaType": "a/b", "digest": Digest::of(b"layer"), "size": 5, "data": "bGF5ZXI="},
        ],
    });
    fs::write(layout.root().join("index.json"), index.to_string()).unwrap();
    layout.tag("a", &image.descriptor).unwrap();
    let after: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.root().join("index.json")).unwrap()).unwrap();
    assert_eq!(after["x-other"], index["x-other"]);
    assert_eq!(after["annotations"], index["annotations"]);
    assert_eq!(after["manifests"][0], index["manifests"][0]);
    assert_eq!(after["manifests"][1], index["manifests"][1]);
    assert_eq!(
        after["manifests"][2]["annotations"]["org.opencontainers.image.ref.name"],
        "a"
    );
}

#[test]
fn a_damaged_index_is_an_error_until_it_is_put_aside() {
    let (_folder, layout) = empty();
    let image = image(&layout, "amd64", b"layer");
    layout.tag("a:1", &image.descriptor).unwrap();
    assert_eq!(
        layout.forget_names().unwrap(),
        None,
        "nothing is wrong with it"
    );
    fs::write(layout.root().join("index.json"), "{\"schemaVer").unwrap();
    let damaged = |error: LayoutError| matches!(error, LayoutError::DamagedIndex { .. });
    assert!(damaged(layout.resolve("a:1").unwrap_err()));
    assert!(damaged(layout.tag("a:1", &image.descriptor).unwrap_err()));
    assert!(damaged(
        layout
            .collect_garbage(&GarbagePolicy::default())
            .unwrap_err()
    ));

    let aside = layout.forget_names().unwrap().unwrap();
    assert_eq!(fs::read(aside).unwrap(), b"{\"schemaVer");
    assert_eq!(layout.resolve("a:1").unwrap(), None);
    layout.tag("a:1", &image.descriptor).unwrap();
}

fn add_index(layout: &Layout, images: &[StoredImage]) -> Descriptor {
    let entry = |image: &StoredImage| Descriptor {
        platform: Some(image.config.platform.clone()),
        ..image.descriptor.clone()
    };
    let index = crate::Index::new(images.iter().map(entry).collect());
    layout.add(media_type::INDEX, &index.to_json()).unwrap()
}

#[test]
fn what_is_written_again_replaces_what_rotted() {
    let (_folder, layout) = empty();
    let blob = layout.add(media_type::CONFIG, b"content").unwrap();
    let path = layout.blob_path(&blob.digest);
    let rot = || {
        fs::remove_file(&path).unwrap();
        fs::write(&path, "contend").unwrap();
    };
    rot();
    layout.add(media_type::CONFIG, b"content").unwrap();
    assert_eq!(layout.read(&blob).unwrap(), b"content");
    rot();
    let mut writer = layout.writer().unwrap();
    writer.write_all(b"content").unwrap();
    writer.commit(media_type::CONFIG).unwrap();
    assert_eq!(layout.read(&blob).unwrap(), b"content");
}

#[test]
fn a_descriptor_stands_for_one_image_or_several() {
    let (_folder, layout) = empty();
    let images = ["amd64", "arm64"].map(|name| image(&layout, name, name.as_bytes()));
    let index = add_index(&layout, &images);
    assert_eq!(layout.images(&index).unwrap(), images);
    assert_eq!(layout.images(&images[1].descriptor).unwrap(), images[1..]);
    layout.discard(&images[1].descriptor).unwrap();
    let missing = layout.images(&index).unwrap_err();
    assert_eq!(
        missing.damaged().map(|blob| blob.digest),
        Some(images[1].descriptor.digest)
    );
}

#[test]
fn an_index_leads_to_the_image_of_the_platform() {
    let (_folder, layout) = empty();
    let (amd, arm) = (
        image(&layout, "amd64", b"amd"),
        image(&layout, "arm64", b"arm"),
    );
    let index = add_index(&layout, &[amd.clone(), arm.clone()]);
    let nested = crate::Index::new(vec![index.clone()]);
    let nested = layout.add(media_type::INDEX, &nested.to_json()).unwrap();
    let untyped = Descriptor {
        media_type: "application/json".into(),
        ..index.clone()
    };
    for from in [&index, &nested, &untyped] {
        assert_eq!(layout.image(from, &amd64()).unwrap(), amd);
        assert_eq!(
            layout
                .image(from, &"linux/arm64/v8".parse().unwrap())
                .unwrap(),
            arm
        );
    }
    for from in [&index, &amd.descriptor] {
        let refused = layout.image(from, &Platform::linux("riscv64")).unwrap_err();
        assert!(refused.to_string().contains("linux/amd64"), "{refused}");
    }
}

#[test]
fn platforms_nobody_fetched_are_left_out_but_not_all() {
    let (_folder, layout) = empty();
    let (amd, arm) = (
        image(&layout, "amd64", b"amd"),
        image(&layout, "arm64", b"arm"),
    );
    let index = add_index(&layout, &[amd.clone(), arm.clone()]);
    layout.discard(&arm.descriptor).unwrap();
    layout.tag("a:1", &index).unwrap();
    layout.discard(&amd.descriptor).unwrap();
    let refused = layout.tag("a:2", &index).unwrap_err();
    assert!(matches!(refused, LayoutError::Missing { .. }), "{refused}");
}

#[test]
fn manifests_that_contradict_their_configuration_are_refused() {
    let (_folder, layout) = empty();
    let image = image(&layout, "amd64", b"layer");
    let layer = image.manifest.layers[0].clone();
    let refused = layout
        .add_image(&image.config_bytes, vec![layer.clone(), layer])
        .unwrap_err();
    assert!(
        matches!(
            refused,
            LayoutError::Layers {
                layers: 2,
                diff_ids: 1,
                ..
            }
        ),
        "{refused}"
    );
    let refused = layout.add_image(b"{}", Vec::new()).unwrap_err();
    assert!(matches!(refused, LayoutError::Config { .. }), "{refused}");
    let text = layout.add(media_type::MANIFEST, b"no manifest").unwrap();
    let refused = layout.image(&text, &amd64()).unwrap_err();
    assert!(matches!(refused, LayoutError::Document { .. }), "{refused}");
}

#[test]
fn copies_are_whole_and_no_damage_spreads() {
    let (_folder, from) = empty();
    let (_other, to) = empty();
    let (amd, arm) = (image(&from, "amd64", b"amd"), image(&from, "arm64", b"arm"));
    let index = add_index(&from, &[amd.clone(), arm]);
    copy_image(&from, &to, &index).unwrap();
    copy_image(&from, &to, &index).unwrap();
    to.tag("copy", &index).unwrap();
    to.verify(&index).unwrap();
    assert_eq!(files(&to.root().join("blobs/sha256")), 7);

    let (_third, clean) = empty();
    fs::remove_file(from.blob_path(&amd.manifest.layers[0].digest)).unwrap();
    fs::write(from.blob_path(&amd.manifest.layers[0].digest), "amx").unwrap();
    assert!(matches!(
        from.verify(&index),
        Err(LayoutError::Corrupt { .. })
    ));
    let refused = copy_image(&from, &clean, &index).unwrap_err();
    assert_eq!(refused.damaged(), Some(&amd.manifest.layers[0]));
    assert!(!clean.has(&amd.manifest.layers[0]));
    to.verify(&index).unwrap();
}

#[test]
fn garbage_goes_by_age_within_each_repository() {
    let (_folder, layout) = empty();
    for (name, hours) in [
        ("a:1", 900),
        ("a:2", 800),
        ("a:3", 700),
        ("a:4", 2),
        ("b:1", 900),
    ] {
        let image = image(&layout, "amd64", name.as_bytes());
        layout.tag(name, &image.descriptor).unwrap();
        age_image(&layout, &image, hours);
    }
    let policy = GarbagePolicy {
        newest: 2,
        used_within: Duration::from_secs(24 * 3600),
        budget: None,
        grace: Duration::from_secs(3600),
    };
    let report = layout.collect_garbage(&policy).unwrap();
    assert_eq!(report.names, ["a:1", "a:2"]);
    assert_eq!(report.blobs, 6, "layer, configuration and manifest of each");
    assert!(report.freed > 0 && report.kept > 0);
    let left = layout.names().unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), ["a:3", "a:4", "b:1"]);
    left.values()
        .for_each(|image| layout.verify(image).unwrap());
    assert_eq!(layout.collect_garbage(&policy).unwrap().blobs, 0);
}

#[test]
fn use_keeps_a_name() {
    let (_folder, layout) = empty();
    let image = image(&layout, "amd64", b"layer");
    layout.tag("a:1", &image.descriptor).unwrap();
    age_image(&layout, &image, 900);
    layout.resolve("a:1").unwrap();
    let policy = GarbagePolicy {
        newest: 0,
        ..GarbagePolicy::default()
    };
    assert_eq!(
        layout.collect_garbage(&policy).unwrap().names,
        Vec::<String>::new()
    );
    age_image(&layout, &image, 900);
    assert_eq!(layout.collect_garbage(&policy).unwrap().names, ["a:1"]);
}

#[test]
fn the_budget_takes_what_was_not_used_for_longest_and_counts_shared_blobs_once() {
    let (_folder, layout) = empty();
    let shared = layout.add(media_type::LAYER, &[7; 5000]).unwrap();
    for (name, hours) in [("a:1", 30), ("b:1", 20), ("c:1", 10), ("d:1", 0)] {
        let own = layout
            .add(media_type::LAYER, &[name.as_bytes()[0]; 3000])
            .unwrap();
        let config = ImageConfig {
            platform: amd64(),
            created: 0,
            run: RunConfig::default(),
        };
        let config = config.to_json(&[(shared.digest, "shared"), (own.digest, "own")]);
        let image = layout
            .add_image(&config, vec![shared.clone(), own])
            .unwrap();
        layout.tag(name, &image.descriptor).unwrap();
        age_image(&layout, &image, hours);
    }
    let policy = |budget| GarbagePolicy {
        budget: Some(budget),
        ..GarbagePolicy::default()
    };
    assert_eq!(
        layout.collect_garbage(&policy(25_000)).unwrap().names,
        Vec::<String>::new()
    );
    let report = layout.collect_garbage(&policy(14_000)).unwrap();
    assert_eq!(report.names, ["a:1", "b:1"]);
    assert!(report.kept <= 14_000, "{}", report.kept);
    let report = layout.collect_garbage(&policy(0)).unwrap();
    assert_eq!(report.names, ["c:1"], "what is in use stays");
}

#[test]
fn who_writes_during_a_collection_is_safe() {
    let (_folder, layout) = empty();
    let fresh = image(&layout, "amd64", b"not named yet");
    let old = image(&layout, "amd64", b"old and found again");
    age_image(&layout, &old, 900);
    let reused = &old.manifest.layers[0];
    assert!(layout.has(reused));
    let writer = layout.writer().unwrap();
    let stale = layout.root().join("tmp/left-by-a-killed-process");
    fs::write(&stale, "half").unwrap();
    let then = SystemTime::now() - Duration::from_secs(7200);
    File::open(&stale).unwrap().set_modified(then).unwrap();

    let report = layout.collect_garbage(&GarbagePolicy::default()).unwrap();
    assert_eq!(
        (report.blobs, report.temporary),
        (2, 1),
        "manifest and configuration of the old one"
    );
    assert!(layout.has(reused), "asking for it has kept it");
    layout.tag("a:1", &fresh.descriptor).unwrap();
    assert!(layout.tag("a:2", &old.descriptor).is_err());
    writer.commit("text/plain").unwrap();
}

#[test]
fn a_name_of_a_broken_image_goes_and_is_reported() {
    let (_folder, layout) = empty();
    let image = image(&layout, "amd64", b"layer");
    layout.tag("a:1", &image.descriptor).unwrap();
    layout.discard(&image.descriptor).unwrap();
    let report = layout.collect_garbage(&GarbagePolicy::default()).unwrap();
    assert_eq!(report.damaged, ["a:1"]);
    assert_eq!(layout.resolve("a:1").unwrap(), None);
}

#[test]
fn many_may_write_and_name_at_once() {
    let (folder, _) = empty();
    let root = folder.path().join("shared");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let root = &root;
            scope.spawn(move || {
                let layout = Layout::open(root).unwrap();
                for round in 0..5 {
                    let own = image(&layout, "amd64", format!("{thread}-{round}").as_bytes());
                    layout
                        .tag(&format!("own:{thread}-{round}"), &own.descriptor)
                        .unwrap();
                    let same = image(&layout, "amd64", b"the same for all");
                    layout.tag("same:1", &same.descriptor).unwrap();
                    layout.collect_garbage(&GarbagePolicy::default()).unwrap();
                }
            });
        }
    });
    let layout = Layout::open(&root).unwrap();
    let names = layout.names().unwrap();
    assert_eq!(names.len(), 8 * 5 + 1);
    names
        .values()
        .for_each(|image| layout.verify(image).unwrap());
    assert_eq!(files(&root.join("tmp")), 0);
}

#[test]
fn errors_of_the_disk_name_path_and_cause() {
    let (_folder, layout) = empty();
    fs::remove_dir(layout.root().join("blobs/sha256")).unwrap();
    let mut writer = layout.writer().unwrap();
    writer.write_all(b"abc").unwrap();
    let error = writer.commit("text/plain").unwrap_err();
    assert!(
        matches!(
            &error,
            LayoutError::Io {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
    assert!(std::error::Error::source(&error).is_some());
}
