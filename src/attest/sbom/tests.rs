//! Tests of the bill of materials: its content, and the rules of the format that a reader relies on.

use std::collections::BTreeSet;

use oci_image::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::contents::Base;
use super::super::subject::counter;
use super::*;

const CREATED: u64 = 1_714_564_800;
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn cargo(name: &str, version: &str, source: Option<&str>, needs: &[(&str, &str)]) -> CargoPackage {
    CargoPackage {
        name: name.into(),
        version: version.into(),
        source: CargoSource::parse(source),
        checksum: source.map(|_| "c0".repeat(32)),
        license: source.is_none().then(|| "MIT/Apache-2.0".into()),
        dependencies: needs
            .iter()
            .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
            .collect(),
    }
}

fn contents() -> Contents {
    Contents {
        base: Some(Base {
            name: "docker.io/library/debian".into(),
            digest: Digest::of(b"base"),
        }),
        cargo: vec![
            cargo(
                "counter",
                "0.1.0",
                None,
                &[
                    ("kit", "0.1.0"),
                    ("serde_json", "1.0.2"),
                    ("insta", "1.0.0"),
                ],
            ),
            cargo("kit", "0.1.0", None, &[("serde_json", "1.0.2")]),
            cargo("serde_json", "1.0.2", Some(CRATES_IO), &[]),
        ],
        roots: vec![("counter".into(), "0.1.0".into())],
        debian: vec![DebianPackage {
            name: "libc6".into(),
            version: "2.36-9+deb12u10".into(),
            architecture: "amd64".into(),
            source: Some("glibc".into()),
            sha256: "d0".repeat(32),
            url: Some("http://deb.debian.org/debian/pool/main/g/glibc/libc6.deb".into()),
        }],
        distribution: Some("debian-12".into()),
        files: vec![
            AddedFile {
                path: "/counter".into(),
                digest: Digest::of(b"elf"),
                kind: FileKind::Binary,
            },
            AddedFile {
                path: "/etc/counter.toml".into(),
                digest: Digest::of(b"abc"),
                kind: FileKind::Asset,
            },
        ],
    }
}

fn document(contents: &Contents) -> Value {
    serde_json::from_slice(&sbom(&counter(), contents, CREATED).content).unwrap()
}

fn package<'a>(document: &'a Value, id: &str) -> &'a Value {
    let packages = document["packages"].as_array().unwrap();
    packages
        .iter()
        .find(|package| package["SPDXID"] == id)
        .unwrap()
}

#[test]
fn the_image_is_what_the_document_describes() {
    let document = document(&contents());
    let digest = Digest::of(b"manifest");
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    assert_eq!(document["SPDXID"], "SPDXRef-DOCUMENT");
    assert_eq!(document["dataLicense"], "CC0-1.0");
    assert_eq!(document["name"], "registry.example.com/shop/counter");
    assert_eq!(
        document["documentNamespace"],
        format!("https://stackctl.dev/spdx/counter/sha256-{}", digest.hex())
    );
    assert_eq!(document["creationInfo"]["created"], "2024-05-01T12:00:00Z");
    let image = package(&document, "SPDXRef-Image-counter");
    assert_eq!(image["versionInfo"], digest.to_string());
    assert_eq!(image["primaryPackagePurpose"], "CONTAINER");
    assert_eq!(
        image["checksums"],
        json!([{ "algorithm": "SHA256", "checksumValue": digest.hex() }])
    );
}

#[test]
fn packages_say_what_they_are() {
    let document = document(&contents());
    assert_eq!(
        *package(&document, "SPDXRef-Cargo-serde-json-1.0.2"),
        json!({
            "SPDXID": "SPDXRef-Cargo-serde-json-1.0.2",
            "name": "serde_json",
            "versionInfo": "1.0.2",
            "primaryPackagePurpose": "LIBRARY",
            "downloadLocation": "https://static.crates.io/crates/serde_json/serde_json-1.0.2.crate",
            "filesAnalyzed": false,
            "checksums": [{ "algorithm": "SHA256", "checksumValue": "c0".repeat(32) }],
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": "pkg:cargo/serde_json@1.0.2",
            }],
        })
    );
    let own = package(&document, "SPDXRef-Cargo-counter-0.1.0");
    assert_eq!(own["licenseDeclared"], "MIT OR Apache-2.0");
    assert_eq!(own["downloadLocation"], "NOASSERTION");
    assert_eq!(own["primaryPackagePurpose"], "APPLICATION");
    let libc = package(&document, "SPDXRef-Debian-libc6-2.36-9-deb12u10-amd64");
    assert_eq!(libc["supplier"], "Organization: Debian");
    assert_eq!(
        libc["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc"
    );
    let asset = package(&document, "SPDXRef-File-etc-counter.toml");
    assert_eq!(asset["primaryPackagePurpose"], "FILE");
    assert_eq!(asset["packageFileName"], "./etc/counter.toml");
}

#[test]
fn relations_are_those_of_the_image_and_of_the_lock_file() {
    let document = document(&contents());
    let found: Vec<String> = document["relationships"]
        .as_array()
        .unwrap()
        .iter()
        .map(|relation| {
            let part = |name: &str| relation[name].as_str().unwrap().replace("SPDXRef-", "");
            format!(
                "{} {} {}",
                part("spdxElementId"),
                part("relationshipType"),
                part("relatedSpdxElement")
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            // `insta` is of tests alone, and so is not in the image.
            "Cargo-counter-0.1.0 DEPENDS_ON Cargo-kit-0.1.0",
            "Cargo-counter-0.1.0 DEPENDS_ON Cargo-serde-json-1.0.2",
            "Cargo-kit-0.1.0 DEPENDS_ON Cargo-serde-json-1.0.2",
            "DOCUMENT DESCRIBES Image-counter",
            "Image-counter CONTAINS Cargo-counter-0.1.0",
            "Image-counter CONTAINS Debian-libc6-2.36-9-deb12u10-amd64",
            "Image-counter CONTAINS File-counter",
            "Image-counter CONTAINS File-etc-counter.toml",
            "Image-counter DESCENDANT_OF Base-docker.io-library-debian",
        ]
    );
}

#[test]
fn the_order_of_the_input_does_not_count() {
    let mut turned = contents();
    turned.cargo.reverse();
    turned.cargo.push(turned.cargo[0].clone());
    turned.files.reverse();
    assert_eq!(
        sbom(&counter(), &contents(), CREATED),
        sbom(&counter(), &turned, CREATED)
    );
}

#[test]
fn credentials_in_addresses_are_left_out() {
    let mut contents = contents();
    for source in [
        "git+https://me:t0ken@example.com/a?token=t0ken#abc",
        "git+ssh://t0ken@example.com/b#abc",
        "sparse+https://t0ken@crates.example.com/",
        "registry+https://me:t0ken@crates.example.com/index",
    ] {
        let name = format!("p{}", contents.cargo.len());
        contents
            .cargo
            .push(cargo(&name, "1.0.0", Some(source), &[]));
    }
    contents.debian[0].url = Some("https://me:t0ken@mirror.example.com/libc6.deb".into());
    let text = String::from_utf8(sbom(&counter(), &contents, CREATED).content).unwrap();
    assert!(text.contains("crates.example.com") && text.contains("mirror.example.com"));
    assert!(!text.contains("t0ken"));
}

#[test]
fn licences_are_expressions_or_nothing() {
    for (text, expected) in [
        ("MIT", Some("MIT")),
        ("MIT/Apache-2.0", Some("MIT OR Apache-2.0")),
        (
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            Some("(MIT OR Apache-2.0) AND Unicode-3.0"),
        ),
        (
            "Apache-2.0 WITH LLVM-exception",
            Some("Apache-2.0 WITH LLVM-exception"),
        ),
        ("", None),
        ("all rights reserved", None),
        ("MIT OR", None),
        ("(MIT", None),
        ("MIT) OR (MIT", None),
        ("MIT, Apache", None),
    ] {
        assert_eq!(license(text).as_deref(), expected, "{text}");
    }
}

/// The rules of `spdx-schema.json` for what occurs here, and that relations lead somewhere.
fn check(document: &Value) {
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    for required in [
        "SPDXID",
        "creationInfo",
        "dataLicense",
        "name",
        "spdxVersion",
        "documentNamespace",
    ] {
        assert!(keys(document).contains(required), "{required}");
    }
    let mut ids = BTreeSet::from(["SPDXRef-DOCUMENT".to_owned()]);
    for package in document["packages"].as_array().unwrap() {
        let id = package["SPDXID"].as_str().unwrap();
        let rest = id.strip_prefix("SPDXRef-").unwrap();
        assert!(
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'),
            "{id}"
        );
        assert!(ids.insert(id.to_owned()), "{id} twice");
        for required in ["name", "downloadLocation"] {
            assert!(
                package[required]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{package}"
            );
        }
        for checksum in package["checksums"].as_array().into_iter().flatten() {
            assert_eq!(checksum["checksumValue"].as_str().unwrap().len(), 64);
        }
    }
    for relation in document["relationships"].as_array().unwrap() {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            assert!(ids.contains(relation[end].as_str().unwrap()), "{relation}");
        }
    }
}

#[test]
fn the_format_is_kept_for_the_example() {
    check(&document(&contents()));
    check(&document(&Contents::default()));
}

proptest! {
    #[test]
    fn the_format_is_kept_whatever_things_are_called(
        names in prop::collection::vec(("[a-zA-Z_+ä/-]{1,6}", "[0-9.+-]{1,4}"), 0..12),
        paths in prop::collection::vec("\\PC{1,12}", 0..6),
    ) {
        let mut contents = Contents::default();
        for (name, version) in &names {
            let needs: Vec<(&str, &str)> = names.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            contents.cargo.push(cargo(name, version, Some("git+ssh://x/y#z"), &needs));
        }
        contents.roots = names.iter().take(1).cloned().collect();
        for path in paths {
            contents.files.push(AddedFile { digest: Digest::of(path.as_bytes()), path, kind: FileKind::Asset });
        }
        check(&document(&contents));
    }
}
