//! The layer of files: copies from the repository, users, folders, links. Listed first, then written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use debian_packages::{Account, Accounts};

use crate::diagnostic::Span;
use crate::stack::{Copied, FilesBuild, User};

use super::files::Files;
use super::input_error::InputError;
use super::walk::Links;

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
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: String,
        /// The link of the repository, relative to it, where it is one.
        from: Option<PathBuf>,
    },
}

impl Entry {
    /// What of the repository it is made from, relative to it.
    pub(crate) fn from(&self) -> Option<&Path> {
        match self {
            Self::Copy { from } => Some(from),
            Self::Link { from, .. } => from.as_deref(),
            Self::Folder { .. } | Self::Text(_) => None,
        }
    }
}

/// The entries of a layer by their path without a slash at the start, in the order of a layer.
pub(crate) type Entries = BTreeMap<Vec<String>, Entry>;

/// Lists what `build` lays over an image: the one list that both its tag and its layer are made from.
pub(crate) fn entries(build: &FilesBuild, files: &Files) -> Result<Entries, InputError> {
    let mut listed = Listed {
        entries: options(build),
        copied: BTreeMap::new(),
    };
    for (from, copied) in &build.copies {
        listed.copy(from, copied, files)?;
    }
    Ok(listed.entries)
}

/// Folders, users and links.
fn options(build: &FilesBuild) -> Entries {
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
        let link = Entry::Link {
            target: target.clone(),
            from: None,
        };
        entries.insert(parts(path), link);
    }
    entries
}

/// Entries, and which of them come from where in the repository.
struct Listed<'a> {
    entries: Entries,
    copied: BTreeMap<Vec<String>, (PathBuf, &'a Span)>,
}

impl<'a> Listed<'a> {
    /// A file lands where it is to, the content of a folder below it.
    fn copy(&mut self, from: &Path, copied: &'a Copied, files: &Files) -> Result<(), InputError> {
        for file in files.named(from, Links::Kept, "the file", &copied.span)? {
            let mut place = parts(&copied.to);
            for part in file.path.strip_prefix(from).unwrap_or(Path::new("")) {
                let part = part.to_str().ok_or_else(|| InputError::NotUtf8 {
                    path: file.path.clone(),
                })?;
                place.push(part.to_owned());
            }
            if place.is_empty() {
                return Err(InputError::AtRoot {
                    path: file.path,
                    span: copied.span.clone(),
                });
            }
            let from = file.path.clone();
            let entry = match file.link {
                Some(target) => Entry::Link {
                    target,
                    from: Some(file.path),
                },
                None => Entry::Copy { from: file.path },
            };
            if let Some(there) = self.entries.insert(place.clone(), entry) {
                return Err(self.collision(&place, &there, (&from, &copied.span)));
            }
            self.copied.insert(place, (from, &copied.span));
        }
        Ok(())
    }

    fn collision(&self, place: &[String], there: &Entry, new: (&Path, &Span)) -> InputError {
        let (other, mut spans) = match self.copied.get(place) {
            Some((from, span)) => (in_backticks(from), vec![(*span).clone()]),
            None => (option_of(there).to_owned(), Vec::new()),
        };
        spans.push(new.1.clone());
        InputError::Collision {
            place: format!("/{}", place.join("/")),
            one: other,
            other: in_backticks(new.0),
            spans,
        }
    }
}

fn in_backticks(path: &Path) -> String {
    format!("`{}`", path.display())
}

fn option_of(entry: &Entry) -> &'static str {
    match entry {
        Entry::Folder { .. } => "one of `folders`",
        Entry::Text(_) => "what `users` writes",
        Entry::Link { .. } | Entry::Copy { .. } => "one of `links`",
    }
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
        let link = |target: &str, from: Option<&str>| Entry::Link {
            target: target.to_owned(),
            from: from.map(Into::into),
        };
        let expected = [
            ("app", link("srv/www", None)),
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
            (
                "srv/www/start.html",
                link("index.html", Some("web/start.html")),
            ),
        ];
        assert_eq!(
            listed,
            expected.map(|(path, entry)| (path.to_owned(), entry))
        );
    }

    fn copied(to: &str) -> Copied {
        Copied {
            to: to.to_owned(),
            span: span(),
        }
    }

    #[test]
    fn a_place_has_one_owner() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[("a/x", ""), ("b/x", ""), ("passwd", ""), ("c", "")],
        );
        symlink("c", root.path().join("link")).unwrap();
        let user = User {
            uid: 100,
            home: "/data".to_owned(),
        };
        let problem = |copies: &[(&str, &str)]| {
            let build = FilesBuild {
                copies: copies
                    .iter()
                    .map(|(from, to)| (PathBuf::from(from), copied(to)))
                    .collect(),
                users: [("app".into(), user.clone())].into(),
                links: [("/l".into(), "c".into())].into(),
                ..FilesBuild::default()
            };
            let error = entries(&build, &Files::new(root.path())).unwrap_err();
            let places = error.diagnostic().labels.len();
            (error.to_string(), places)
        };
        for (copies, expected, places) in [
            (
                &[("a", "/srv"), ("b", "/srv")][..],
                "`a/x` and `b/x` are both to be at `/srv/x`",
                2,
            ),
            (
                &[("passwd", "/etc/passwd")],
                "what `users` writes and `passwd` are both to be at `/etc/passwd`",
                1,
            ),
            (
                &[("c", "/l")],
                "one of `links` and `c` are both to be at `/l`",
                1,
            ),
            (&[("c", "/")], "`c` is a file: it cannot be `/` itself", 1),
        ] {
            assert_eq!(problem(copies), (expected.to_owned(), places));
        }
    }

    #[test]
    fn a_named_link_is_what_it_leads_to() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("v1/app.js", ""), ("v1/conf", "")]);
        symlink("v1", root.path().join("now")).unwrap();
        symlink("v1/conf", root.path().join("conf")).unwrap();
        let build = FilesBuild {
            copies: [
                ("now".into(), copied("/srv")),
                ("conf".into(), copied("/etc/conf")),
            ]
            .into(),
            ..FilesBuild::default()
        };
        let listed: Vec<(String, Entry)> = entries(&build, &Files::new(root.path()))
            .unwrap()
            .into_iter()
            .map(|(path, entry)| (path.join("/"), entry))
            .collect();
        let copy = |path: &str, from: &str| (path.to_owned(), Entry::Copy { from: from.into() });
        assert_eq!(
            listed,
            [
                copy("etc/conf", "conf"),
                copy("srv/app.js", "now/app.js"),
                copy("srv/conf", "now/conf")
            ]
        );
    }
}
