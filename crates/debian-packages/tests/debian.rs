//! Against Debian's own archive: real signatures, real packages, whole images.
//!
//! Run by hand with `cargo test -p debian-packages --release --test debian -- --ignored --nocapture`;
//! `DEBIAN_TEST_CACHE` names a folder that is kept between runs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use debian_packages::{
    Account, Accounts, Cache, Fetcher, Lock, LockFile, Mirrors, Request, Source, Tree, TreeOptions,
    fetch, resolve,
};
use oci_image::{Digest, DigestWriter, LayerWriter};

/// What an image is made of.
struct Image {
    name: &'static str,
    packages: &'static [&'static str],
    exclude: &'static [&'static str],
    drop: &'static [&'static str],
}

/// What only maintainer scripts and init systems need.
const NEVER: [&str; 9] = [
    "adduser",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "lsb-base",
    "perl",
    "readline-common",
    "sensible-utils",
    "tar",
];

/// Of which single files are taken.
const PARTS: [(&str, &[&str]); 3] = [
    (
        "base-files",
        &[
            "/etc/os-release",
            "/usr/lib/os-release",
            "/etc/debian_version",
        ],
    ),
    ("libc-bin", &["/usr/lib/locale"]),
    ("util-linux", &["/usr/bin/flock"]),
];

const IMAGES: [Image; 4] = [
    Image {
        name: "redis",
        packages: &["redis-server", "redis-sentinel"],
        exclude: &[],
        drop: &[
            "/etc/default",
            "/etc/logrotate.d",
            "/etc/redis",
            "/usr/share/lua",
        ],
    },
    Image {
        name: "postgres",
        packages: &["postgresql-15", "postgresql-client-15"],
        exclude: &[
            "libllvm14",
            "locales",
            "postgresql-client-common",
            "postgresql-common",
            "ssl-cert",
        ],
        drop: &[
            "/usr/lib/postgresql/15/lib/bitcode",
            "/usr/lib/postgresql/15/lib/llvmjit*",
            "/usr/lib/postgresql/15/lib/pgxs",
            "/usr/sbin",
            "/usr/share/postgresql/15/man",
            "/usr/share/zoneinfo/posix",
            "/usr/share/zoneinfo/right",
        ],
    },
    Image {
        name: "haproxy",
        packages: &["haproxy"],
        exclude: &[],
        drop: &[
            "/etc/default",
            "/etc/logrotate.d",
            "/etc/rsyslog.d",
            "/usr/share/vim",
        ],
    },
    Image {
        name: "prometheus",
        packages: &["prometheus"],
        exclude: &["javascript-common"],
        drop: &[
            "/etc/default",
            "/etc/logrotate.d",
            "/usr/bin/promtool",
            "/usr/share/javascript/moment-timezone/data",
        ],
    },
];

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn request(image: &Image, architecture: &str) -> Request {
    let set = |names: &[&str]| -> BTreeSet<String> { owned(names).into_iter().collect() };
    let parts = PARTS.map(|(name, _)| name);
    Request {
        sources: Source::debian("bookworm"),
        architecture: architecture.to_owned(),
        packages: owned(&[image.packages, &["busybox-static"], &parts].concat()),
        exclude: set(&[&NEVER[..], image.exclude].concat()),
        without_dependencies: set(&parts),
    }
}

fn options(image: &Image) -> TreeOptions {
    TreeOptions {
        drop: owned(image.drop),
        only: PARTS
            .map(|(name, paths)| (name.to_owned(), owned(paths)))
            .into(),
        accounts: Accounts {
            users: vec![Account {
                name: "app".to_owned(),
                id: 998,
                home: "/data".to_owned(),
            }],
        },
        applets: owned(&["sh", "cat", "sed", "sleep", "mkdir", "id"]),
        ..TreeOptions::default()
    }
}

/// Digest and size of the layer.
fn layer(tree: &Tree) -> (Digest, u64) {
    let mut layer = LayerWriter::new(DigestWriter::new(io::sink()), 0);
    tree.write_layer(&mut layer).unwrap();
    let (_, digest, size) = layer.finish().unwrap().finish();
    (digest, size)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs deb.debian.org"]
async fn images_of_real_packages() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let temporary = tempfile::tempdir().unwrap();
    let root = std::env::var_os("DEBIAN_TEST_CACHE")
        .map_or_else(|| temporary.path().to_owned(), Into::into);
    let cache = Cache::open(root).unwrap();
    let fetcher = Fetcher::new(cache.clone(), Mirrors::default()).unwrap();
    for image in &IMAGES {
        for architecture in ["amd64", "arm64"] {
            let lock = resolve_twice(image, architecture, &fetcher).await;
            build_twice(image, &lock, (&fetcher, &cache)).await;
        }
    }
}

#[expect(clippy::print_stderr, reason = "run by hand for its measurements")]
async fn resolve_twice(image: &Image, architecture: &str, fetcher: &Fetcher) -> Lock {
    let request = request(image, architecture);
    let start = Instant::now();
    let lock = resolve(&request, fetcher, &|_| ()).await.unwrap();
    let first = start.elapsed();
    let start = Instant::now();
    let again = resolve(&request, fetcher, &|_| ()).await.unwrap();
    let second = start.elapsed();
    assert_eq!(lock, again);
    let has = |name: &str| lock.packages().iter().any(|package| package.name == name);
    assert!(image.packages.iter().all(|name| has(name)));
    assert!(!request.exclude.iter().any(|name| has(name)));
    let file = LockFile {
        locks: [(architecture.to_owned(), lock.clone())].into(),
    };
    assert_eq!(file.to_string().parse::<LockFile>().unwrap(), file);
    let names: Vec<_> = lock
        .packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let left_out: Vec<_> = lock
        .left_out
        .iter()
        .map(|left| left.name.as_str())
        .collect();
    eprintln!(
        "{} {architecture}: resolved in {first:.0?}, then in {second:.1?}\n  {} packages: {}\n  left out: {}",
        image.name,
        names.len(),
        names.join(" "),
        left_out.join(" "),
    );
    lock
}

#[expect(clippy::print_stderr, reason = "run by hand for its measurements")]
async fn build_twice(image: &Image, lock: &Lock, (fetcher, cache): (&Fetcher, &Cache)) {
    let start = Instant::now();
    let files = fetch(lock, fetcher, &|_| ()).await.unwrap();
    let downloaded = start.elapsed();
    let start = Instant::now();
    fetch(lock, fetcher, &|_| ()).await.unwrap();
    let checked = start.elapsed();
    let start = Instant::now();
    let tree = Tree::build(&files, &options(image), cache).unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        panic!("{} {}: {error} {cause:?}", image.name, lock.architecture)
    });
    let built = start.elapsed();
    let start = Instant::now();
    let written = layer(&tree);
    eprintln!(
        "  {:.1} MB of .deb, {} entries, {:.1} MB; fetched in {downloaded:.0?}, then in {checked:.0?}; \
         built in {built:.0?}, written in {:.0?}",
        lock.packages()
            .iter()
            .map(|package| package.size)
            .sum::<u64>() as f64
            / 1e6,
        tree.entries().count(),
        tree.size() as f64 / 1e6,
        start.elapsed(),
    );
    let again = Tree::build(&files, &options(image), cache).unwrap();
    assert_eq!(layer(&again), written, "bit for bit");
}
