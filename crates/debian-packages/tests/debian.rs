//! Against Debian's own archive: real signatures, real packages, whole images.
//!
//! Run by hand with `cargo test -p debian-packages --release --test debian -- --ignored --nocapture`;
//! `DEBIAN_TEST_CACHE` names a folder that is kept between runs.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::time::Instant;

use debian_packages::{
    Account, Accounts, Activity, Cache, Fetcher, LockFile, Metadata, Mirrors, Request, Source, Tree,
    TreeOptions, TreeSink, fetch, resolve,
};

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
    ("base-files", &["/etc/os-release", "/usr/lib/os-release", "/etc/debian_version"]),
    ("libc-bin", &["/usr/lib/locale"]),
    ("util-linux", &["/usr/bin/flock"]),
];

const IMAGES: [Image; 4] = [
    Image {
        name: "redis",
        packages: &["redis-server", "redis-sentinel"],
        exclude: &[],
        drop: &["/etc/default", "/etc/logrotate.d", "/etc/redis", "/usr/share/lua"],
    },
    Image {
        name: "postgres",
        packages: &["postgresql-15", "postgresql-client-15"],
        exclude: &["libllvm14", "locales", "postgresql-client-common", "postgresql-common", "ssl-cert"],
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
        drop: &["/etc/default", "/etc/logrotate.d", "/etc/rsyslog.d", "/usr/share/vim"],
    },
    Image {
        name: "prometheus",
        packages: &["prometheus"],
        exclude: &[
            "fonts-glyphicons-halflings",
            "libjs-bootstrap",
            "libjs-bootstrap4",
            "libjs-eonasdan-bootstrap-datetimepicker",
            "libjs-jquery",
            "libjs-jquery-hotkeys",
            "libjs-moment",
            "libjs-moment-timezone",
            "libjs-mustache",
            "libjs-popper.js",
            "libjs-rickshaw",
        ],
        drop: &["/etc/default", "/etc/logrotate.d", "/usr/bin/promtool"],
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
        only: PARTS.map(|(name, paths)| (name.to_owned(), owned(paths))).into(),
        accounts: Accounts {
            users: vec![Account {
                name: "app".to_owned(),
                id: 998,
                home: "/data".to_owned(),
                shell: "/bin/sh".to_owned(),
            }],
        },
        applets: owned(&["sh", "cat", "sed", "sleep", "mkdir", "id"]),
        ..TreeOptions::default()
    }
}

/// Counts what comes.
#[derive(Default)]
struct Count {
    entries: usize,
    bytes: u64,
}

impl TreeSink for Count {
    type Error = io::Error;

    fn directory(&mut self, _: &str, _: Metadata) -> io::Result<()> {
        self.entries += 1;
        Ok(())
    }

    fn file(&mut self, path: &str, _: Metadata, size: u64, content: &mut dyn Read) -> io::Result<()> {
        self.entries += 1;
        let read = io::copy(content, &mut io::sink())?;
        assert_eq!(read, size, "{path}");
        self.bytes += read;
        Ok(())
    }

    fn symlink(&mut self, _: &str, _: Metadata, _: &str) -> io::Result<()> {
        self.entries += 1;
        Ok(())
    }

    fn hard_link(&mut self, _: &str, _: Metadata, _: &str) -> io::Result<()> {
        self.entries += 1;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs deb.debian.org"]
#[expect(clippy::print_stderr, reason = "run by hand for its measurements")]
async fn images_of_real_packages() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let temporary = tempfile::tempdir().unwrap();
    let root = std::env::var_os("DEBIAN_TEST_CACHE").map_or_else(|| temporary.path().to_owned(), Into::into);
    let cache = Cache::open(root).unwrap();
    let fetcher = Fetcher::new(cache.clone(), Mirrors::default()).unwrap();
    let progress = |activity: Activity<'_>| {
        if let Activity::Index { suite, size } = activity {
            eprintln!("  index of {suite}: {size} bytes");
        }
    };
    for image in &IMAGES {
        for architecture in ["amd64", "arm64"] {
            let request = request(image, architecture);
            let start = Instant::now();
            let first = resolve(&request, &fetcher, &progress).await.unwrap();
            let cold = start.elapsed();
            let start = Instant::now();
            let lock = resolve(&request, &fetcher, &progress).await.unwrap();
            let warm = start.elapsed();
            assert_eq!(first, lock);
            assert!(lock.packages.iter().all(|package| !request.exclude.contains(&package.name)));
            for name in image.packages {
                assert!(lock.packages.iter().any(|package| package.name == *name), "{name}");
            }
            let file = LockFile { locks: [(architecture.to_owned(), lock.clone())].into() };
            assert_eq!(file.to_string().parse::<LockFile>().unwrap(), file);
            let start = Instant::now();
            let files = fetch(&lock, &fetcher, &progress).await.unwrap();
            let fetched = start.elapsed();
            let start = Instant::now();
            fetch(&lock, &fetcher, &progress).await.unwrap();
            let checked = start.elapsed();
            let start = Instant::now();
            let tree = Tree::build(&files, &options(image), &cache).unwrap_or_else(|error| {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                panic!("{} {architecture}: {error} {source:?}", image.name)
            });
            let built = start.elapsed();
            let start = Instant::now();
            let mut count = Count::default();
            tree.write(&mut count).unwrap();
            assert_eq!(count.bytes, tree.size());
            eprintln!(
                "{} {architecture}: {} packages, {:.1} MB of .deb, {} entries, {:.1} MB; \
                 resolve {cold:.0?} then {warm:.1?}, fetch {fetched:.0?} then {checked:.0?}, build {built:.0?}, write {:.0?}",
                image.name,
                files.len(),
                lock.download_size() as f64 / 1e6,
                count.entries,
                count.bytes as f64 / 1e6,
                start.elapsed(),
            );
            let names: Vec<_> = lock.packages.iter().map(|package| package.name.as_str()).collect();
            eprintln!("  {}", names.join(" "));
            let left_out: Vec<_> = lock.left_out.iter().map(|left| left.name.as_str()).collect();
            eprintln!("  left out: {}", left_out.join(" "));
            eprintln!("  signed by {:?}", lock.suites.iter().map(|suite| &suite.signed_by).collect::<Vec<_>>());
        }
    }
}
