//! A stack of one service of cargo and one of files, with a cache of its own, and its images wherever they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use oci_image::Layout;
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{Run, finish};

/// What registries are asked for.
const ACCEPTED: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"hello\"]\n",
    ),
    (
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n",
    ),
    (
        "hello/Cargo.toml",
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    ),
    ("services/hello/service.yaml", "build: { cargo: hello }\n"),
    (
        "services/bulk/service.yaml",
        "build: { files: { bulk: /srv }, entrypoint: [/srv/run] }\n",
    ),
    ("bulk/run", "#!/bin/sh\n"),
];

/// A stack `shop` of the services `hello` and `bulk`; its images are removed from the engine at the end.
pub(crate) struct Shop {
    folder: TempDir,
    registry: String,
    /// Of all references: the registry, and a path that no other stack has.
    pub(crate) prefix: String,
}

/// The digests of an image by which others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) manifest: String,
    pub(crate) config: String,
}

/// Every name that leads to something: in the store, in the engine, in the registry. `service:tag` to a digest, which
/// is an image's id in the engine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) store: BTreeMap<String, String>,
    pub(crate) engine: BTreeMap<String, String>,
    pub(crate) registry: BTreeMap<String, String>,
    /// Manifests that statements of the registry are about.
    pub(crate) attested: BTreeSet<String>,
}

impl Shop {
    /// One that goes to the registry of the tests.
    pub(crate) fn new() -> Self {
        Self::at(&test_registry())
    }

    /// One that goes to this registry.
    pub(crate) fn at(registry: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!(
            "{registry}/stackctl-test-shop-{}-{number}",
            std::process::id()
        );
        Self::with_prefix(registry, prefix)
    }

    /// Another clone of the same repository, in another folder and with another cache.
    pub(crate) fn clone_of(other: &Self) -> Self {
        let clone = Self::with_prefix(&other.registry, other.prefix.clone());
        for file in ["hello/src/main.rs", "bulk/content"] {
            if let Ok(content) = fs::read(other.path().join(file)) {
                clone.write(file, content);
            }
        }
        clone
    }

    fn with_prefix(registry: &str, prefix: String) -> Self {
        let shop = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            registry: registry.to_owned(),
            prefix,
        };
        for (path, text) in FILES {
            shop.write(path, text);
        }
        shop.write("stack.yaml", "name: shop\nservices: [hello, bulk]\n");
        shop.write(
            "environments/local.yaml",
            format!("cluster: local\nregistry: {}\n", shop.prefix),
        );
        shop.say("0");
        shop.fill(&[0]);
        shop
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where images are assembled.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    pub(crate) fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(path, content).expect("the file is written");
    }

    /// Edits the source of `hello` so that it says `words`.
    pub(crate) fn say(&self, words: &str) {
        self.write(
            "hello/src/main.rs",
            format!("fn main() {{ println!(\"hello {words}\"); }}\n"),
        );
    }

    /// The content of `/srv/content` in `bulk`.
    pub(crate) fn fill(&self, content: &[u8]) {
        self.write("bulk/content", content);
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stackctl"));
        command
            .current_dir(self.path())
            .env_remove("STACKCTL_ENV")
            .env("STACKCTL_CACHE", self.cache())
            .args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command(arguments))
    }

    /// Builds, and returns what the images file says.
    pub(crate) fn build(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[&["build", "--output", "json"], arguments].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        serde_json::from_str(&run.stdout).expect("JSON")
    }

    /// What the image of a service is when it is built with nothing to build on.
    pub(crate) fn built_anew(&self, service: &str) -> (String, Known) {
        fs::remove_dir_all(self.cache()).ok();
        fs::remove_dir_all(self.path().join("anew")).ok();
        let report = self.build(&["--service", service, "--to", "oci:anew"]);
        let image = &report["images"][service];
        assert_eq!(image["outcome"], "built");
        let manifest = text(&image["manifest"]["digest"]);
        let out = self.path().join("anew");
        let config = text(&blob(&out, &manifest)["config"]["digest"]);
        let reference = text(&image["reference"]);
        (self.short(&reference), Known { manifest, config })
    }

    /// `service:tag` of a whole reference.
    fn short(&self, reference: &str) -> String {
        let name = reference
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        let name = name.unwrap_or_else(|| panic!("{reference} is not below {}", self.prefix));
        name.split('@').next().expect("a part").to_owned()
    }

    /// The whole reference of `service:tag`.
    pub(crate) fn reference(&self, short: &str) -> String {
        format!("{}/{short}", self.prefix)
    }

    /// Looks everywhere.
    pub(crate) fn names(&self) -> Names {
        let mut names = Names {
            store: self.names_of_store(),
            engine: self.names_of_engine(),
            ..Names::default()
        };
        for service in ["hello", "bulk"] {
            self.look_into_registry(service, &mut names);
        }
        names
    }

    fn names_of_store(&self) -> BTreeMap<String, String> {
        let images = self.cache().join("images");
        if !images.join("index.json").exists() {
            return BTreeMap::new();
        }
        let layout = Layout::open(images).expect("the store is no less than a layout");
        let names = layout.names().expect("its index is whole");
        let names = names
            .into_iter()
            .map(|(name, image)| (name, image.digest.to_string()));
        names.collect()
    }

    fn names_of_engine(&self) -> BTreeMap<String, String> {
        let filter = format!("reference={}/*", self.prefix);
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let listed = docker(&[
            "images",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            format,
        ]);
        let names = listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            // Pulled by digest.
            .filter(|(reference, _)| !reference.ends_with(":<none>"));
        names
            .map(|(reference, id)| (self.short(reference), id.to_owned()))
            .collect()
    }

    /// A name counts only if the registry has all that it leads to.
    fn look_into_registry(&self, service: &str, names: &mut Names) {
        let base = format!("/v2{}/{service}", self.path_in_registry());
        let listed = self.ask("GET", &format!("{base}/tags/list"));
        if listed.status == 404 {
            return;
        }
        let listed: Value = serde_json::from_slice(&listed.body).expect("JSON");
        for tag in listed["tags"].as_array().into_iter().flatten() {
            let tag = text(tag);
            let digest = self.check_whole(&base, &tag);
            // Where registries have no API for it, statements about a manifest are named by its digest.
            match tag.strip_prefix("sha256-") {
                Some(hex) => {
                    names.attested.insert(format!("sha256:{hex}"));
                }
                None => {
                    names.registry.insert(format!("{service}:{tag}"), digest);
                }
            }
        }
    }

    /// Looks for all that a tag or a digest leads to; returns the digest.
    fn check_whole(&self, base: &str, name: &str) -> String {
        let found = self.ask("GET", &format!("{base}/manifests/{name}"));
        assert_eq!(found.status, 200, "{base}:{name}");
        let document: Value = serde_json::from_slice(&found.body).expect("JSON");
        let mut kinds = BTreeSet::new();
        for manifest in document["manifests"].as_array().into_iter().flatten() {
            self.check_whole(base, &text(&manifest["digest"]));
            let kind = manifest["artifactType"].to_string();
            assert!(kinds.insert(kind), "twice the same statement in {document}");
        }
        let layers = document["layers"].as_array().into_iter().flatten();
        for blob in layers.chain(document.get("config")) {
            let blob_path = format!("{base}/blobs/{}", text(&blob["digest"]));
            let found = self.ask("HEAD", &blob_path);
            assert_eq!(found.status, 200, "{base}:{name} lacks {blob}");
            let length = found.length.expect("a length");
            assert_eq!(Some(length), blob["size"].as_u64());
        }
        oci_image::Digest::of(&found.body).to_string()
    }

    /// Fetches all blobs of an image that the registry has, and digests them.
    pub(crate) fn pull(&self, short: &str) {
        let (service, tag) = short.split_once(':').expect("a tag");
        let base = format!("/v2{}/{service}", self.path_in_registry());
        let manifest = self.ask("GET", &format!("{base}/manifests/{tag}"));
        let manifest: Value = serde_json::from_slice(&manifest.body).expect("JSON");
        let layers = manifest["layers"].as_array().expect("layers");
        for blob in layers.iter().chain([&manifest["config"]]) {
            let digest = text(&blob["digest"]);
            let found = self.ask("GET", &format!("{base}/blobs/{digest}"));
            assert_eq!(oci_image::Digest::of(&found.body).to_string(), digest);
        }
    }

    /// What the registry has in a service's repository, such as `manifests/TAG`.
    pub(crate) fn in_registry(&self, service: &str, path: &str) -> Vec<u8> {
        let path = format!("/v2{}/{service}/{path}", self.path_in_registry());
        let found = self.ask("GET", &path);
        assert_eq!(found.status, 200, "{path}");
        found.body
    }

    fn path_in_registry(&self) -> &str {
        self.prefix.strip_prefix(&self.registry).expect("below it")
    }

    fn ask(&self, method: &str, path: &str) -> Answer {
        let stream = TcpStream::connect(&self.registry).expect("the registry answers");
        ask(stream, &self.registry, method, path)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let filter = format!("reference={}/*", self.prefix);
        let ids = docker(&["images", "--quiet", "--filter", &filter]);
        let _ = Command::new("docker")
            .args(["rmi", "--force"])
            .args(ids.lines())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

struct Answer {
    status: u16,
    length: Option<u64>,
    body: Vec<u8>,
}

/// A witness that knows nothing of the client under test.
fn ask(mut stream: impl Read + Write, host: &str, method: &str, path: &str) -> Answer {
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAccept: {ACCEPTED}\r\n\r\n"
    )
    .expect("it listens");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("headers");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    Answer {
        status: status.expect("a status"),
        length: length.and_then(|length| length.trim().parse().ok()),
        body: answer[end + 4..].to_vec(),
    }
}

/// The registry that the environment names.
pub(crate) fn test_registry() -> String {
    std::env::var("STACKCTL_TEST_REGISTRY").unwrap_or_else(|_| {
        panic!(
            "set $STACKCTL_TEST_REGISTRY to a registry that this engine may push to and the cluster pulls from"
        )
    })
}

/// What the layers of all images take in the engine, in bytes.
pub(crate) fn layers_in_engine() -> u64 {
    let stream = UnixStream::connect("/var/run/docker.sock").expect("the engine answers");
    let answer = ask(stream, "docker", "GET", "/system/df");
    let usage: Value = serde_json::from_slice(&answer.body).expect("JSON");
    // Of engines up to 28, and of later ones.
    let size = [&usage["LayersSize"], &usage["ImageUsage"]["TotalSize"]];
    let size = size.into_iter().find_map(Value::as_u64);
    size.unwrap_or_else(|| panic!("no size in {usage}"))
}

/// What `docker` prints.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = output("docker", arguments);
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// What a program prints; it must succeed.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    output.stdout
}

/// A file of an image in the engine.
pub(crate) fn file_in_engine(reference: &str, path: &str) -> Vec<u8> {
    let container = docker(&["create", reference]);
    let archive = output("docker", &["cp", &format!("{container}:{path}"), "-"]);
    docker(&["rm", &container]);
    let mut archive = tar::Archive::new(&archive[..]);
    let mut entries = archive.entries().expect("an archive");
    let mut entry = entries.next().expect("a file").expect("an entry");
    let mut content = Vec::new();
    entry.read_to_end(&mut content).expect("its content");
    content
}

/// A document of a layout.
pub(crate) fn blob(layout: &Path, digest: &str) -> Value {
    let hex = digest.strip_prefix("sha256:").expect("a digest");
    let path = layout.join("blobs/sha256").join(hex);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// Says what helps to understand a failure; seen only where a test fails.
#[expect(clippy::print_stderr, reason = "that is how tests speak")]
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// Numbers that are the same for the same seed (Vigna's splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// From `$STACKCTL_TEST_SEED`, else from the time; says which, so that a failure can be had again.
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("STACKCTL_TEST_SEED").ok();
        let seed = match given {
            Some(seed) => seed.parse().expect("$STACKCTL_TEST_SEED is a number"),
            None => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_secs()),
        };
        note(&format!("STACKCTL_TEST_SEED={seed}"));
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Content that does not compress.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .collect();
        bytes.truncate(length);
        bytes
    }
}
