//! The layer of files: copies from the repository, users, folders, links. Listed first, then written.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use debian_packages::{Account, Accounts};

use crate::stack::{FilesBuild, User};

use super::files::{Files, read_error};
use super::input_error::InputError;

/// What lies at a path of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A folder with its owner and mode.
    Folder {
        /// `(uid, gid)`
        owner: (u32, u32),
        /// Such as `0o755`.
        mode: u32,
    },
    /// A file of the repository.
    Copy {
        /// Relative to the repository.
        from: PathBuf,
    },
    /// A file that is written here.
    Text(String),
    /// A symbolic link and its target.
    Link(String),
}

/// The entries of a layer by their path without a slash at the start, in the order of a layer.
pub(crate) type Entries = BTreeMap<Vec<String>, Entry>;

/// Lists what `build` lays over an image.
pub(crate) fn entries(build: &FilesBuild, files: &Files) -> Result<Entries, InputError> {
    let mut entries = Entries::new();
    for (path, folder) in &build.folders {
        let owner = folder.owner.as_ref().and_then(|name| build.users.get(name));
        let owner = owner.map_or((0, 0), |user| (user.uid, user.uid));
        entries.insert(
            parts(path),
            Entry::Folder {
                owner,
                mode: folder.mode,
            },
        );
    }
    if !build.users.is_empty() {
        let accounts = accounts(build);
        entries.insert(parts("/etc/passwd"), Entry::Text(accounts.passwd()));
        entries.insert(parts("/etc/group"), Entry::Text(accounts.group()));
    }
    for (path, target) in &build.links {
        entries.insert(parts(path), Entry::Link(target.clone()));
    }
    for (from, copied) in &build.copies {
        copy(from, &copied.to, files, &mut entries)?;
    }
    Ok(entries)
}

/// A file lands at `to`, the content of a folder below it.
fn copy(from: &Path, to: &str, files: &Files, entries: &mut Entries) -> Result<(), InputError> {
    for file in files.below(from)? {
        let below = file.strip_prefix(from).unwrap_or(&file);
        let mut path = parts(to);
        path.extend(below.iter().map(|part| part.to_string_lossy().into_owned()));
        let entry = match std::fs::read_link(files.root().join(&file)) {
            Ok(target) => Entry::Link(target.to_string_lossy().into_owned()),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Entry::Copy { from: file },
            Err(source) => return Err(read_error(&file, source)),
        };
        entries.insert(path, entry);
    }
    Ok(())
}

fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The users of an image, whatever brings their files.
pub(crate) fn accounts(build: &FilesBuild) -> Accounts {
    let account = |(name, user): (&String, &User)| Account {
        name: name.clone(),
        id: user.uid,
        home: user.home.clone(),
    };
    Accounts {
        users: build.users.iter().map(account).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::test_stack::{span, write};
    use super::*;
    use crate::stack::{Copied, Folder};

    #[test]
    fn files_users_folders_and_links_are_listed_in_the_order_of_a_layer() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("web/index.html", "hi"),
                ("web/css/a.css", ""),
                ("conf/app.toml", ""),
            ],
        );
        symlink("index.html", root.path().join("web/start.html")).unwrap();
        let copied = |to: &str| Copied {
            to: to.to_owned(),
            span: span(),
        };
        let user = User {
            uid: 100,
            home: "/data".to_owned(),
        };
        let folder = Folder {
            owner: Some("app".to_owned()),
            mode: 0o700,
        };
        let build = FilesBuild {
            copies: [
                ("web".into(), copied("/srv/www")),
                ("conf/app.toml".into(), copied("/etc/app.toml")),
            ]
            .into(),
            users: [("app".into(), user)].into(),
            folders: [("/data".into(), folder)].into(),
            links: [("/app".into(), "srv/www".into())].into(),
        };
        let listed: Vec<(String, Entry)> = entries(&build, &Files::new(root.path()))
            .unwrap()
            .into_iter()
            .map(|(path, entry)| (path.join("/"), entry))
            .collect();
        let copy = |from: &str| Entry::Copy { from: from.into() };
        let passwd = "root:x:0:0:root:/root:/usr/sbin/nologin\napp:x:100:100:app:/data:/usr/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
        let expected = [
            ("app", Entry::Link("srv/www".into())),
            (
                "data",
                Entry::Folder {
                    owner: (100, 100),
                    mode: 0o700,
                },
            ),
            ("etc/app.toml", copy("conf/app.toml")),
            (
                "etc/group",
                Entry::Text("root:x:0:\napp:x:100:\nnogroup:x:65534:\n".into()),
            ),
            ("etc/passwd", Entry::Text(passwd.into())),
            ("srv/www/css/a.css", copy("web/css/a.css")),
            ("srv/www/index.html", copy("web/index.html")),
            ("srv/www/start.html", Entry::Link("index.html".into())),
        ];
        assert_eq!(
            listed,
            expected.map(|(path, entry)| (path.to_owned(), entry))
        );
    }
}
