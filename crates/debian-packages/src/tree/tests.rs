//! Trees of packages that are made here.

use std::fs;
use std::io::Read;

use oci_image::LayerWriter;

use super::*;
use crate::deb::tests::{FILE, FOLDER, HARD, LINK, Raw, deb};
use crate::elf::tests::program;
use crate::lock::tests::locked;

/// A cache with packages in it.
struct Fixture {
    _folder: tempfile::TempDir,
    cache: Cache,
    files: Vec<DebFile>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        Self {
            _folder: folder,
            cache,
            files: Vec::new(),
        }
    }

    fn with(mut self, name: &str, fields: &str, entries: &[Raw<'_>]) -> Self {
        let bytes = deb(
            &format!("Package: {name}\nVersion: 1:1.0+b1\n{fields}"),
            entries,
        );
        let package = locked(name, &bytes);
        let path = self.cache.package(&package.digest);
        fs::write(&path, bytes).unwrap();
        self.files.push(DebFile { package, path });
        self
    }

    fn build(&self, options: &TreeOptions) -> Result<Tree, TreeError> {
        Tree::build(&self.files, options, &self.cache)
    }

    fn tree(&self) -> Tree {
        self.build(&TreeOptions::default()).unwrap()
    }
}

/// The content of a file.
pub(super) fn text(tree: &Tree, path: &str) -> String {
    let Some(NodeKind::File { content, .. }) = tree.get(path).map(|node| &node.kind) else {
        panic!("{path} is not a file");
    };
    let mut text = String::new();
    content.reader().unwrap().read_to_string(&mut text).unwrap();
    text
}

/// What packages have, without the database and what is declared.
fn paths(tree: &Tree) -> Vec<String> {
    let of_packages = |(path, node): (&EntryPath, &Node)| {
        (!node.packages.is_empty() && !matches!(node.kind, NodeKind::Directory))
            .then(|| path.to_string())
    };
    tree.entries().filter_map(of_packages).collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn old_folders_of_the_root_become_links() {
    let tree = Fixture::new()
        .with(
            "a",
            "",
            &[
                ("./bin/", FOLDER, 0o755, b""),
                ("./bin/sh", FILE, 0o755, b"#!"),
                ("./lib64/", FOLDER, 0o755, b""),
            ],
        )
        .with(
            "b",
            "",
            &[
                ("./usr/bin/x", FILE, 0o755, b"x"),
                ("./lib", LINK, 0o777, b"usr/lib"),
                ("./usr/lib/y", FILE, 0o644, b"y"),
            ],
        )
        .tree();
    assert_eq!(paths(&tree), ["usr/bin/sh", "usr/bin/x", "usr/lib/y"]);
    let target = |path: &str| match &tree.get(path)?.kind {
        NodeKind::Symlink { target } => Some(target.clone()),
        _ => None,
    };
    assert_eq!(target("bin").as_deref(), Some("usr/bin"));
    assert_eq!(target("lib").as_deref(), Some("usr/lib"));
    assert_eq!(target("sbin"), None, "leads nowhere");
    assert_eq!(tree.follow("/bin/sh").unwrap().0.as_str(), "usr/bin/sh");
}

#[test]
fn documentation_is_left_out_and_licences_stay() {
    let entries: &[Raw<'_>] = &[
        ("./usr/share/doc/a/copyright", FILE, 0o644, b"c"),
        ("./usr/share/doc/a/changelog.gz", FILE, 0o644, b"c"),
        ("./usr/share/man/man1/a.1.gz", FILE, 0o644, b"c"),
        ("./lib/systemd/system/a.service", FILE, 0o644, b"c"),
        ("./usr/bin/a", FILE, 0o755, b"c"),
        ("./usr/bin/b", FILE, 0o755, b"c"),
    ];
    let fixture = Fixture::new().with("a", "", entries);
    assert_eq!(
        paths(&fixture.tree()),
        ["usr/bin/a", "usr/bin/b", "usr/share/doc/a/copyright"]
    );
    let mut options = TreeOptions {
        drop: owned(&["/bin/b", "!/usr/share/man"]),
        ..TreeOptions::default()
    };
    let tree = fixture.build(&options).unwrap();
    assert_eq!(
        paths(&tree),
        [
            "usr/bin/a",
            "usr/share/doc/a/copyright",
            "usr/share/man/man1/a.1.gz"
        ]
    );
    options = TreeOptions {
        drop_defaults: false,
        ..TreeOptions::default()
    };
    assert_eq!(paths(&fixture.build(&options).unwrap()).len(), 6);
    options.only.insert("a".to_owned(), owned(&["/usr/bin/b"]));
    assert_eq!(
        paths(&fixture.build(&options).unwrap()),
        ["usr/bin/b", "usr/share/doc/a/copyright"]
    );
    options.only.insert("c".to_owned(), vec![]);
    assert!(matches!(fixture.build(&options), Err(TreeError::NoSuchPackage(name)) if name == "c"));
}

#[test]
fn the_same_file_of_two_packages() {
    let one: &[Raw<'_>] = &[("./usr/f", FILE, 0o644, b"one")];
    let two: &[Raw<'_>] = &[("./usr/f", FILE, 0o644, b"two")];
    let refused = Fixture::new()
        .with("a", "", one)
        .with("b", "", two)
        .build(&TreeOptions::default());
    assert!(
        matches!(refused, Err(TreeError::Conflict { path, one, other })
        if (path.as_str(), one.as_str(), other.as_str()) == ("usr/f", "a", "b"))
    );
    let same = Fixture::new().with("a", "", one).with("b", "", one).tree();
    assert_eq!(
        same.get("usr/f").unwrap().packages,
        BTreeSet::from(["a".to_owned(), "b".to_owned()])
    );
    let newer = Fixture::new()
        .with("a", "", one)
        .with("b", "Replaces: a (<< 1:2)", two)
        .tree();
    assert_eq!(text(&newer, "usr/f"), "two");
    let older = Fixture::new()
        .with("a", "Replaces: b", one)
        .with("b", "", two)
        .tree();
    assert_eq!(text(&older, "usr/f"), "one");
    let unrelated = Fixture::new()
        .with("a", "", one)
        .with("b", "Replaces: a (<< 1:1)", two);
    assert!(unrelated.build(&TreeOptions::default()).is_err());
    let folder: &[Raw<'_>] = &[("./usr/f/", FOLDER, 0o755, b"")];
    let kinds = Fixture::new()
        .with("a", "", one)
        .with("b", "Replaces: a", folder);
    assert!(matches!(
        kinds.build(&TreeOptions::default()),
        Err(TreeError::Conflict { .. })
    ));
}

#[test]
fn nothing_is_written_through_a_link() {
    let fixture = Fixture::new()
        .with("a", "", &[("./srv", LINK, 0o777, b"/etc")])
        .with("b", "", &[("./srv/shadow", FILE, 0o644, b"x")]);
    let refused = fixture.build(&TreeOptions::default()).unwrap_err();
    assert!(matches!(refused, TreeError::NotAFolder { above, .. } if above.as_str() == "srv"));
}

#[test]
fn the_database_that_scanners_read() {
    let entries: &[Raw<'_>] = &[
        ("./bin/", FOLDER, 0o755, b""),
        ("./bin/x", FILE, 0o755, b"x"),
        ("./usr/share/man/x", FILE, 0o644, b"x"),
    ];
    let tree = Fixture::new()
        .with(
            "liba",
            "Architecture: amd64\nMulti-Arch: same\nDescription: a\n b",
            entries,
        )
        .with("b", "Architecture: all", &[])
        .tree();
    assert_eq!(
        text(&tree, "var/lib/dpkg/status"),
        "Package: liba\nStatus: install ok installed\nVersion: 1:1.0+b1\nArchitecture: amd64\nMulti-Arch: same\n\
         Description: a\n b\n\nPackage: b\nStatus: install ok installed\nVersion: 1:1.0+b1\nArchitecture: all\n\n"
    );
    assert_eq!(
        text(&tree, "var/lib/dpkg/info/liba:amd64.list"),
        "/.\n/usr/bin\n/usr/bin/x\n"
    );
    assert_eq!(text(&tree, "var/lib/dpkg/info/b.list"), "/.\n");
}

#[test]
fn what_is_declared_is_there() {
    let options = TreeOptions {
        accounts: Accounts {
            users: vec![Account {
                name: "redis".to_owned(),
                id: 998,
                home: "/data".to_owned(),
            }],
        },
        folders: vec![Folder {
            path: "/data".to_owned(),
            mode: 0o700,
            uid: 998,
            gid: 998,
        }],
        links: BTreeMap::from([("/usr/bin/editor".to_owned(), "vi".to_owned())]),
        applets: owned(&["sh", "cat"]),
        ..TreeOptions::default()
    };
    let tree = Fixture::new()
        .with("redis", "", &[("./bin/cat", FILE, 0o755, b"c")])
        .with(
            "busybox-static",
            "",
            &[("./bin/busybox", FILE, 0o755, b"..\0cat\0sh\0vi\0")],
        )
        .build(&options)
        .unwrap();
    let data = tree.get("data").unwrap();
    assert_eq!((data.mode, data.uid, data.gid), (0o700, 998, 998));
    assert_eq!(tree.get("tmp").unwrap().mode, 0o1777);
    assert!(text(&tree, "etc/passwd").contains("redis:x:998:998:"));
    assert!(
        tree.follow("usr/bin/sh")
            .unwrap()
            .0
            .as_str()
            .ends_with("busybox")
    );
    assert!(
        tree.follow("usr/bin/cat")
            .unwrap()
            .0
            .as_str()
            .ends_with("bin/cat"),
        "the real one stays"
    );
    assert!(matches!(
        tree.get("usr/bin/editor").unwrap().kind,
        NodeKind::Symlink { .. }
    ));
}

#[test]
fn declarations_that_contradict_packages_are_refused() {
    let fixture = Fixture::new().with(
        "a",
        "",
        &[
            ("./usr/f", FILE, 0o644, b"x"),
            ("./bin/busybox", FILE, 0o755, b"\0sh\0"),
        ],
    );
    let link = |path: &str| TreeOptions {
        links: BTreeMap::from([(path.to_owned(), "x".to_owned())]),
        ..TreeOptions::default()
    };
    assert!(matches!(
        fixture.build(&link("/usr/f")),
        Err(TreeError::Taken {
            there: "a file",
            ..
        })
    ));
    assert!(matches!(
        fixture.build(&link("/etc")),
        Err(TreeError::Taken {
            there: "a folder",
            ..
        })
    ));
    assert!(matches!(
        fixture.build(&link("../x")),
        Err(TreeError::Path(_))
    ));
    assert!(matches!(
        fixture.build(&link("/usr/f/below")),
        Err(TreeError::NotAFolder { .. })
    ));
    let applets = TreeOptions {
        applets: owned(&["vi"]),
        ..TreeOptions::default()
    };
    assert!(matches!(fixture.build(&applets), Err(TreeError::Applet(name)) if name == "vi"));
}

#[test]
fn setuid_bits_stay_unless_they_are_not_wanted() {
    let fixture = Fixture::new().with(
        "a",
        "",
        &[
            ("./usr/su", FILE, 0o4755, b"x"),
            ("./var/mail/", FOLDER, 0o2775, b""),
        ],
    );
    assert_eq!(fixture.tree().get("usr/su").unwrap().mode, 0o4755);
    let options = TreeOptions {
        keep_setuid: false,
        ..TreeOptions::default()
    };
    let tree = fixture.build(&options).unwrap();
    assert_eq!(tree.get("usr/su").unwrap().mode, 0o755);
    assert_eq!(
        tree.get("var/mail").unwrap().mode,
        0o2775,
        "folders are not run"
    );
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

#[test]
fn libraries_must_be_there() {
    let (app, library) = (
        program(Some(LOADER), &["libz.so.1", "libpq.so.5"], None),
        program(None, &[], None),
    );
    let libc: &[Raw<'_>] = &[
        (
            "./lib64/ld-linux-x86-64.so.2",
            LINK,
            0o777,
            b"/lib/x86_64-linux-gnu/ld.so",
        ),
        ("./lib/x86_64-linux-gnu/ld.so", FILE, 0o755, &library),
    ];
    let zlib: &[Raw<'_>] = &[
        (
            "./lib/x86_64-linux-gnu/libz.so.1",
            LINK,
            0o777,
            b"libz.so.1.2",
        ),
        ("./lib/x86_64-linux-gnu/libz.so.1.2", FILE, 0o644, &library),
    ];
    let pq: &[Raw<'_>] = &[(
        "./usr/lib/x86_64-linux-gnu/libpq.so.5",
        FILE,
        0o644,
        &library,
    )];
    let app: &[Raw<'_>] = &[("./usr/bin/app", FILE, 0o755, &app)];
    let depends = "Depends: libpq5 (>= 15), zlib1g, libc6, debconf";
    let fixture = || {
        Fixture::new()
            .with("app", depends, app)
            .with("libc6", "", libc)
    };
    assert!(
        fixture()
            .with("zlib1g", "", zlib)
            .with("libpq5", "", pq)
            .build(&TreeOptions::default())
            .is_ok()
    );
    let refused = fixture()
        .with("zlib1g", "", zlib)
        .build(&TreeOptions::default())
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "libraries are missing in the image:\n  libpq.so.5, which /usr/bin/app needs (in the package libpq5)"
    );
    let dangling = fixture()
        .with("zlib1g", "", &zlib[..1])
        .with("libpq5", "", pq);
    assert!(
        matches!(dangling.build(&TreeOptions::default()), Err(TreeError::Libraries(missing))
        if missing[0].library == "libz.so.1")
    );
    let no_loader = Fixture::new()
        .with("app", "", app)
        .with("zlib1g", "", zlib)
        .with("libpq5", "", pq);
    assert!(
        matches!(no_loader.build(&TreeOptions::default()), Err(TreeError::Libraries(missing))
        if missing[0].library == LOADER)
    );
    let unchecked = TreeOptions {
        unchecked: owned(&["/usr/bin"]),
        ..TreeOptions::default()
    };
    assert!(fixture().build(&unchecked).is_ok());
}

#[test]
fn a_program_may_bring_its_own_folder_of_libraries() {
    let library = program(None, &[], None);
    let in_folder = |runpath| {
        let app = program(None, &["libown.so"], runpath);
        let entries: &[Raw<'_>] = &[
            ("./opt/app/bin/app", FILE, 0o755, &app),
            ("./opt/app/lib/libown.so", FILE, 0o644, &library),
        ];
        Fixture::new()
            .with("app", "", entries)
            .build(&TreeOptions::default())
    };
    assert!(in_folder(Some("$ORIGIN/../lib")).is_ok());
    assert!(in_folder(Some("/opt/app/lib")).is_ok());
    assert!(
        in_folder(None).is_err(),
        "no cache tells the loader of other folders"
    );
}

#[test]
fn a_package_file_of_another_package_is_refused() {
    let mut fixture = Fixture::new().with("a", "", &[]);
    fixture.files[0].package.name = "b".to_owned();
    assert!(
        matches!(fixture.build(&TreeOptions::default()), Err(TreeError::OtherPackage { found, .. })
        if found == "a 1:1.0+b1")
    );
}

/// `path type mode uid:gid size [target]`, a line an entry of the layer.
fn layer(tree: &Tree) -> Vec<String> {
    let mut layer = LayerWriter::new(Vec::new(), 0);
    tree.write_layer(&mut layer).unwrap();
    let bytes = layer.finish().unwrap();
    let show = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
        let entry = entry.unwrap();
        let header = entry.header();
        let target = entry
            .link_name()
            .unwrap()
            .map_or_else(String::new, |name| format!(" {}", name.display()));
        let (mode, uid, gid) = (
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
        );
        let (path, kind, size) = (
            entry.path().unwrap(),
            header.entry_type(),
            header.size().unwrap(),
        );
        format!(
            "{} {kind:?} {mode:o} {uid}:{gid} {size}{target}",
            path.display()
        )
    };
    tar::Archive::new(&bytes[..])
        .entries()
        .unwrap()
        .map(show)
        .collect()
}

#[test]
fn entries_come_in_the_order_of_a_layer_and_hard_links_after_their_file() {
    let fixture = Fixture::new().with(
        "a",
        "",
        &[
            ("./usr/z", FILE, 0o4755, b"hello"),
            ("./usr/b", HARD, 0o4755, b"./usr/z"),
            ("./usr/empty", FILE, 0o644, b""),
            ("./usr/void", FILE, 0o644, b""),
            ("./usr/a-b", LINK, 0o777, b"z"),
        ],
    );
    let lines = layer(&fixture.tree());
    let usr: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("usr"))
        .collect();
    assert_eq!(
        usr,
        [
            "usr/ Directory 755 0:0 0",
            "usr/a-b Symlink 777 7:8 0 z",
            "usr/b Regular 4755 7:8 5",
            "usr/empty Regular 644 7:8 0",
            "usr/void Regular 644 7:8 0",
            "usr/z Link 4755 7:8 0 usr/b",
        ]
    );
    assert_eq!(lines, layer(&fixture.tree()), "the same every time");
    let database = [
        "var/lib/dpkg/status",
        "var/lib/dpkg/info/a.list",
        "etc/passwd",
        "etc/group",
    ];
    let made: usize = database
        .iter()
        .map(|path| text(&fixture.tree(), path).len())
        .sum();
    assert_eq!(
        fixture.tree().size(),
        5 + made as u64,
        "hard links count once"
    );
}
