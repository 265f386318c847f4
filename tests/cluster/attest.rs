//! What goes with images in a real registry, and OpenSSL as the second witness of signatures.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::shop::{Shop, text};

const SBOM: &str = "application/spdx+json";
const PROVENANCE: &str = "application/vnd.in-toto+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const ATTESTATION: &str = "application/vnd.dev.cosign.artifact.att.v1+json";

const SIGNED: [&str; 6] = ["build", "--to", "registry", "--sbom", "--sign", "key.pem"];

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn sboms_provenance_and_signatures_are_in_the_registry_once() {
    let shop = Shop::new();
    make_key(shop.path());
    let first = shop.run(&SIGNED);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(
        first.stderr.contains("8 documents and signatures attached"),
        "{}",
        first.stderr
    );
    let report = shop.build(&["--to", "registry"]);
    for service in ["hello", "bulk"] {
        let digest = text(&report["images"][service]["manifest"]["digest"]);
        let listed = referrers(&shop, service, &digest);
        let mut types: Vec<String> = listed
            .iter()
            .map(|entry| text(&entry["artifactType"]))
            .collect();
        types.sort();
        assert_eq!(
            types,
            [SBOM, ATTESTATION, SIGNATURE, PROVENANCE],
            "{service}"
        );
        let attached = content(&shop, service, of_type(&listed, SBOM));
        let written = std::fs::read(
            shop.path()
                .join(format!("target/stackctl/sbom/{service}.spdx.json")),
        );
        assert_eq!(attached, written.expect("the SBOM"), "{service}");
        let statement = content(&shop, service, of_type(&listed, PROVENANCE));
        let statement: Value = serde_json::from_slice(&statement).expect("JSON");
        let subject = text(&statement["subject"][0]["digest"]["sha256"]);
        assert_eq!(format!("sha256:{subject}"), digest);
        check_signature(&shop, service, &digest);
    }
    let programs = sbom_names(shop.path(), "hello");
    assert!(programs.contains(&"/hello".to_owned()), "{programs:?}");
    let files = sbom_names(shop.path(), "bulk");
    for file in ["/srv/run", "/srv/content"] {
        assert!(files.contains(&file.to_owned()), "{files:?}");
    }

    let second = shop.run(&SIGNED);
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert!(
        second
            .stderr
            .contains("0 documents and signatures attached, 8 present"),
        "{}",
        second.stderr
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn what_is_pushed_gets_its_provenance_unasked() {
    let shop = Shop::new();
    let report = shop.build(&["--service", "bulk", "--to", "registry"]);
    let digest = text(&report["images"]["bulk"]["manifest"]["digest"]);
    let types: Vec<String> = referrers(&shop, "bulk", &digest)
        .iter()
        .map(|entry| text(&entry["artifactType"]))
        .collect();
    assert_eq!(types, [PROVENANCE]);
}

fn make_key(folder: &Path) {
    let make = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "key.pem",
    ];
    openssl(folder, &make);
    openssl(
        folder,
        &["pkey", "-in", "key.pem", "-pubout", "-out", "key.pub"],
    );
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output();
    let output = output.expect("openssl is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The list under the tag that stands for the API, which this registry has not.
fn referrers(shop: &Shop, service: &str, digest: &str) -> Vec<Value> {
    let list = shop.in_registry(service, &format!("manifests/{}", digest.replace(':', "-")));
    let list: Value = serde_json::from_slice(&list).expect("JSON");
    list["manifests"].as_array().expect("entries").clone()
}

fn of_type<'a>(listed: &'a [Value], wanted: &str) -> &'a Value {
    let mut entries = listed.iter();
    entries
        .find(|entry| entry["artifactType"] == wanted)
        .expect("it is listed")
}

/// Of the one layer of an artifact.
fn content(shop: &Shop, service: &str, entry: &Value) -> Vec<u8> {
    let manifest = shop.in_registry(service, &format!("manifests/{}", text(&entry["digest"])));
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    shop.in_registry(
        service,
        &format!("blobs/{}", text(&manifest["layers"][0]["digest"])),
    )
}

/// As `cosign verify` does.
fn check_signature(shop: &Shop, service: &str, digest: &str) {
    let manifest = shop.in_registry(
        service,
        &format!("manifests/{}.sig", digest.replace(':', "-")),
    );
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let layer = &manifest["layers"][0];
    let payload = shop.in_registry(service, &format!("blobs/{}", text(&layer["digest"])));
    let signed: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(
        signed["critical"]["image"]["docker-manifest-digest"],
        digest
    );
    shop.write("payload", payload);
    shop.write(
        "signature.base64",
        text(&layer["annotations"]["dev.cosignproject.cosign/signature"]) + "\n",
    );
    openssl(
        shop.path(),
        &[
            "base64",
            "-d",
            "-A",
            "-in",
            "signature.base64",
            "-out",
            "signature",
        ],
    );
    openssl(
        shop.path(),
        &[
            "dgst",
            "-sha256",
            "-verify",
            "key.pub",
            "-signature",
            "signature",
            "payload",
        ],
    );
}

fn sbom_names(folder: &Path, service: &str) -> Vec<String> {
    let text_of = std::fs::read(folder.join(format!("target/stackctl/sbom/{service}.spdx.json")))
        .expect("the SBOM");
    let sbom: Value = serde_json::from_slice(&text_of).expect("JSON");
    let packages = sbom["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| text(&package["name"]))
        .collect()
}
