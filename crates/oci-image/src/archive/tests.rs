//! Archives written from a layout and read into one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;

use super::*;
use crate::{
    Compression, Compressor, ImageConfig, Index, LayerSink, LayerWriter, Layout, Platform,
    RunConfig, StoredImage, media_type,
};

fn empty() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    (folder, layout)
}

fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut layer = LayerWriter::new(Vec::new(), 0);
    layer
        .file(name, 0o644, content.len() as u64, content)
        .unwrap();
    layer.finish().unwrap()
}

fn config(layers: &[Digest]) -> Vec<u8> {
    let config = ImageConfig {
        platform: Platform::linux("amd64"),
        created: 0,
        run: RunConfig::default(),
    };
    let layers: Vec<_> = layers.iter().map(|diff_id| (*diff_id, "test")).collect();
    config.to_json(&layers)
}

/// Stores an image of these layers, each compressed another way.
fn image(layout: &Layout, layers: &[Vec<u8>]) -> StoredImage {
    let ways = [Compression::Zstd, Compression::Gzip, Compression::None];
    let stored: Vec<_> = layers
        .iter()
        .zip(ways.into_iter().cycle())
        .map(|(tar, compression)| {
            let mut sink = LayerSink::new(layout, compression).unwrap();
            sink.write_all(tar).unwrap();
            sink.finish().unwrap()
        })
        .collect();
    let diff_ids: Vec<Digest> = stored.iter().map(|layer| layer.diff_id).collect();
    let blobs = stored.into_iter().map(|layer| layer.descriptor).collect();
    layout.add_image(&config(&diff_ids), blobs).unwrap()
}

fn layers() -> Vec<Vec<u8>> {
    // The middle one is too large to be kept in memory between its two readings.
    vec![
        tar_of("a", b"first"),
        tar_of("b", &vec![7; 100 << 10]),
        tar_of("c", b"third"),
    ]
}

fn files(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

fn names(files: &[(String, Vec<u8>)]) -> Vec<&str> {
    files.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn the_archive_is_what_docker_load_reads() {
    let (_folder, layout) = empty();
    let tars = layers();
    let image = image(&layout, &tars);
    let tags = ["seedling/birthday:1", "seedling/birthday:2"];
    let bytes = write_docker_archive(&layout, &image, &tags, &BTreeSet::new(), Vec::new()).unwrap();
    let files = files(&bytes);
    let config_name = format!("{}.json", Digest::of(&image.config_bytes).hex());
    let layer_names: Vec<String> = tars
        .iter()
        .map(|tar| format!("{}.tar", Digest::of(tar).hex()))
        .collect();
    assert_eq!(
        names(&files),
        [
            "manifest.json",
            &config_name,
            &layer_names[0],
            &layer_names[1],
            &layer_names[2]
        ]
    );
    let manifest: serde_json::Value = serde_json::from_slice(&files[0].1).unwrap();
    assert_eq!(
        manifest,
        serde_json::json!([{"Config": config_name, "RepoTags": tags, "Layers": layer_names}])
    );
    assert_eq!(files[1].1, image.config_bytes);
    for (index, tar) in tars.iter().enumerate() {
        assert!(
            files[2 + index].1 == *tar,
            "layer {index} comes decompressed"
        );
    }
}

#[test]
fn what_the_engine_has_is_left_out_from_the_bottom_up() {
    let (_folder, layout) = empty();
    let tars = [
        tar_of("a", b"1"),
        tar_of("b", b"2"),
        tar_of("c", b"3"),
        tar_of("a", b"1"),
    ];
    let image = image(&layout, &tars);
    let ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
    for (present, written) in [
        (vec![], vec![0, 1, 2]),
        (vec![ids[0]], vec![1, 2, 0]),
        (vec![ids[0], ids[1]], vec![2, 0]),
        // What it lies on is not there: the engine knows another layer by this digest.
        (vec![ids[1], ids[2]], vec![0, 1, 2]),
        (vec![ids[0], ids[1], ids[2]], vec![]),
    ] {
        let present: BTreeSet<Digest> = present.into_iter().collect();
        let bytes = write_docker_archive(&layout, &image, &[], &present, Vec::new()).unwrap();
        let files = files(&bytes);
        let expected: Vec<String> = written
            .iter()
            .map(|index| format!("{}.tar", ids[*index].hex()))
            .collect();
        assert_eq!(names(&files)[2..], expected);
    }
}

#[test]
fn a_damaged_layer_is_named_before_any_of_it_is_written() {
    let (_folder, layout) = empty();
    let image = image(&layout, &layers());
    for layer in &image.manifest.layers {
        let path = layout.blob_path(&layer.digest);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(&path, &bad).unwrap();
        let refused = write_docker_archive(&layout, &image, &[], &BTreeSet::new(), Vec::new());
        assert_eq!(refused.unwrap_err().damaged(), Some(layer), "{layer:?}");
        let index = index(&layout, &image);
        let refused = write_archive(&[archived(&layout, &index, None)], Vec::new());
        assert_eq!(refused.unwrap_err().damaged(), Some(layer), "{layer:?}");
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_layer_that_is_not_the_one_of_the_configuration_is_refused() {
    let (_folder, layout) = empty();
    let blob = layout
        .add(media_type::LAYER, &tar_of("a", b"other"))
        .unwrap();
    let expected = Digest::of(b"something else");
    let image = layout.add_image(&config(&[expected]), vec![blob]).unwrap();
    let refused = write_docker_archive(&layout, &image, &[], &BTreeSet::new(), Vec::new());
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, ArchiveError::DiffId { expected: it, .. } if *it == expected),
        "{refused}"
    );
}

#[test]
fn who_takes_no_more_is_an_error_of_writing() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_folder, layout) = empty();
    let image = image(&layout, &layers());
    for room in [0, 3000, 50 << 10] {
        let refused = write_docker_archive(&layout, &image, &[], &BTreeSet::new(), Full(room));
        assert!(matches!(refused, Err(ArchiveError::Write(_))), "{room}");
    }
}

#[test]
fn what_is_written_reads_back() {
    let (_folder, from) = empty();
    let (_other, to) = empty();
    let tars = layers();
    let image = image(&from, &tars);
    let bytes =
        write_docker_archive(&from, &image, &["a:1"], &BTreeSet::new(), Vec::new()).unwrap();
    let read = read_docker_archive(bytes.as_slice(), &to).unwrap();
    assert_eq!(read.id(), image.id());
    assert_eq!(read.config, image.config);
    assert!(
        read.manifest
            .layers
            .iter()
            .all(|layer| layer.media_type == media_type::LAYER_ZSTD)
    );
    to.tag("a:1", &read.descriptor).unwrap();
    to.verify(&read.descriptor).unwrap();
    let again = write_docker_archive(&to, &read, &["a:1"], &BTreeSet::new(), Vec::new()).unwrap();
    assert!(again == bytes);
}

/// As Docker 20.10 writes it: the manifest last, a folder a layer, the second layer a link to the first.
fn saved_by_docker_20(layer: &[u8]) -> Vec<u8> {
    let diff_id = Digest::of(layer);
    let config = config(&[diff_id, diff_id]);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let manifest = serde_json::json!([{
        "Config": config_name, "RepoTags": ["a:1"], "Layers": ["one/layer.tar", "two/layer.tar"],
    }]);
    let mut archive = Builder::new(Vec::new());
    append(&mut archive, "one/VERSION", b"1.0").unwrap();
    append(&mut archive, "one/json", b"{}").unwrap();
    append(&mut archive, "one/layer.tar", layer).unwrap();
    append(&mut archive, &config_name, &config).unwrap();
    let mut link = header(0);
    link.set_entry_type(EntryType::Symlink);
    archive
        .append_link(&mut link, "two/layer.tar", "../one/layer.tar")
        .unwrap();
    append(&mut archive, "repositories", br#"{"a":{"1":"two"}}"#).unwrap();
    append(
        &mut archive,
        "manifest.json",
        manifest.to_string().as_bytes(),
    )
    .unwrap();
    archive.into_inner().unwrap()
}

/// As Docker 25 writes it with containerd's store: blobs by digest, layers compressed.
fn saved_by_docker_25(layer: &[u8]) -> Vec<u8> {
    let diff_id = Digest::of(layer);
    let config = config(&[diff_id]);
    let mut compressor = Compressor::new(Vec::new(), Compression::Gzip).unwrap();
    compressor.write_all(layer).unwrap();
    let blob = compressor.finish().unwrap();
    let path = |content: &[u8]| format!("blobs/sha256/{}", Digest::of(content).hex());
    let manifest = serde_json::json!([{
        "Config": path(&config), "RepoTags": null, "Layers": [path(&blob)],
        "LayerSources": {},
    }]);
    let mut archive = Builder::new(Vec::new());
    append(&mut archive, &path(&blob), &blob).unwrap();
    append(&mut archive, &path(&config), &config).unwrap();
    append(&mut archive, "index.json", b"{}").unwrap();
    append(
        &mut archive,
        "manifest.json",
        manifest.to_string().as_bytes(),
    )
    .unwrap();
    append(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn both_formats_of_docker_save_are_read() {
    // Random enough not to become small when compressed: such layers are stored as they come.
    let noise: Vec<u8> = (0..1_100_000u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8)
        .collect();
    for content in [&b"small"[..], &noise] {
        let layer = tar_of("file", content);
        let (_folder, layout) = empty();
        let image = read_docker_archive(saved_by_docker_20(&layer).as_slice(), &layout).unwrap();
        assert_eq!(image.config.diff_ids, [Digest::of(&layer); 2]);
        assert_eq!(image.manifest.layers[0], image.manifest.layers[1]);
        assert_eq!(image.manifest.layers[0].media_type, media_type::LAYER_ZSTD);
        layout.verify(&image.descriptor).unwrap();

        let image = read_docker_archive(saved_by_docker_25(&layer).as_slice(), &layout).unwrap();
        assert_eq!(image.manifest.layers[0].media_type, media_type::LAYER_GZIP);
        layout.verify(&image.descriptor).unwrap();
        let blobs = fs::read_dir(layout.root().join("blobs/sha256"))
            .unwrap()
            .count();
        assert_eq!(
            blobs, 6,
            "two images of a layer, a configuration and a manifest each"
        );
    }
}

#[test]
fn archives_that_are_not_what_they_say_are_refused() {
    let (_folder, layout) = empty();
    let layer = tar_of("file", b"content");
    let config = config(&[Digest::of(&layer)]);
    let archive_of = |files: &BTreeMap<&str, &[u8]>| {
        let mut archive = Builder::new(Vec::new());
        for (path, content) in files {
            append(&mut archive, path, content).unwrap();
        }
        archive.into_inner().unwrap()
    };
    let one = br#"[{"Config":"c","Layers":["l"]}]"#;
    let refused = |files: &[(&'static str, &[u8])]| {
        let files = files.iter().copied().collect();
        read_docker_archive(archive_of(&files).as_slice(), &layout)
            .unwrap_err()
            .to_string()
    };
    let other = tar_of("file", b"another");
    for (files, reason) in [
        (vec![], "no file `manifest.json`"),
        (vec![("manifest.json", &b"[]"[..])], "0 images"),
        (vec![("manifest.json", b"[{")], "damaged"),
        (vec![("manifest.json", one)], "no file `c`"),
        (
            vec![("manifest.json", one), ("c", b"{}")],
            "no configuration",
        ),
        (vec![("manifest.json", one), ("c", &config)], "no file `l`"),
        (
            vec![("manifest.json", one), ("c", &config), ("l", &other)],
            "when decompressed",
        ),
        (
            vec![
                ("manifest.json", br#"[{"Config":"c","Layers":[]}]"#),
                ("c", &config),
            ],
            "0 layers",
        ),
    ] {
        let message = refused(&files);
        assert!(message.contains(reason), "{reason}: {message}");
    }
    assert!(read_docker_archive(&saved_by_docker_20(&layer)[..900], &layout).is_err());
}

fn index(layout: &Layout, image: &StoredImage) -> Descriptor {
    let index = Index::new(vec![image.descriptor.clone()]);
    layout.add(media_type::INDEX, &index.to_json()).unwrap()
}

fn archived<'a>(
    layout: &'a Layout,
    descriptor: &'a Descriptor,
    docker: Option<&'a StoredImage>,
) -> ArchivedImage<'a> {
    ArchivedImage {
        layout,
        descriptor,
        docker,
        tag: "a:1",
        name: "docker.io/library/a:1",
    }
}

#[test]
fn an_archive_of_an_index_is_a_layout_in_one_file_too() {
    let (_folder, layout) = empty();
    let image = image(&layout, &[tar_of("a", b"1"), tar_of("b", b"2")]);
    let index = index(&layout, &image);
    let archived = [archived(&layout, &index, Some(&image))];
    let bytes = write_archive(&archived, Vec::new()).unwrap();
    let unpacked = tempfile::tempdir().unwrap();
    tar::Archive::new(bytes.as_slice())
        .unpack(unpacked.path())
        .unwrap();
    // What Docker reads lies beside it.
    let mut of_docker = vec![format!("{}.json", image.id().hex())];
    of_docker.extend(
        image
            .layers()
            .map(|(diff_id, _)| format!("{}.tar", diff_id.hex())),
    );
    of_docker.push("manifest.json".to_owned());
    for file in of_docker {
        fs::remove_file(unpacked.path().join(file)).unwrap();
    }
    let read = Layout::open(unpacked.path()).unwrap();
    let found = read.resolve("docker.io/library/a:1").unwrap().unwrap();
    assert_eq!(found.digest, index.digest);
    read.verify(&found).unwrap();
    let for_containerd = &found.annotations["io.containerd.image.name"];
    assert_eq!(for_containerd, "docker.io/library/a:1");
}

#[test]
fn an_archive_of_one_platform_is_dockers_alone() {
    let (_folder, layout) = empty();
    let image = image(&layout, &[tar_of("a", b"1")]);
    let archived = [archived(&layout, &image.descriptor, Some(&image))];
    let bytes = write_archive(&archived, Vec::new()).unwrap();
    let docker = write_docker_archive(&layout, &image, &["a:1"], &BTreeSet::new(), Vec::new());
    assert_eq!(bytes, docker.unwrap());
    assert_eq!(archive_head(&archived).len(), 1);
}
