//! What git knows about the sources: the one place here that starts a program.

use std::path::Path;
use std::process::{Command, Stdio};

use super::origin::Revision;

/// Schemes of addresses that name a place in the world, not one on this machine.
const PUBLIC_SCHEMES: [&str; 4] = ["https", "http", "ssh", "git"];

/// The state of the repository that `root` lies in; `None` where there is no git, no repository, no commit. Blocks
/// until git has compared the files.
#[must_use]
pub fn revision(root: &Path) -> Option<Revision> {
    let head = git(
        root,
        &["log", "-1", "--no-show-signature", "--format=%H %ct"],
    )?;
    let (commit, committed) = head.trim().split_once(' ')?;
    let status = git(root, &["status", "--porcelain", "--", "."])?;
    let remote = git(root, &["config", "--get", "remote.origin.url"]);
    Some(Revision {
        commit: commit.to_owned(),
        committed: committed.parse().ok()?,
        dirty: !status.is_empty(),
        remote: remote.and_then(|url| public_url(url.trim())),
    })
}

/// An address that may be shown: without user, password and query; `git@host:path` becomes a URL. `None` for folders
/// of this machine and for what is no address.
pub(crate) fn public_url(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        // As scp writes it; a slash before the colon makes it a path.
        let (host, path) = url.split_once(':')?;
        let (_, host) = host.rsplit_once('@').unwrap_or(("", host));
        let is_host = !host.is_empty() && !host.contains('/');
        // `codecommit::…` starts a helper of git; a password must not come before the colon, but might.
        let is_host = is_host && !path.starts_with(':') && !path.contains('@');
        return is_host
            .then(|| format!("ssh://{host}/{}", until_query(path).trim_start_matches('/')));
    };
    let scheme = scheme.to_ascii_lowercase();
    if !PUBLIC_SCHEMES.contains(&scheme.as_str()) {
        return None;
    }
    let rest = until_query(rest);
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    // A password with a slash in it, not encoded: what follows would be shown.
    let is_clean = !host.is_empty() && !path.contains('@');
    is_clean.then(|| format!("{scheme}://{host}{path}"))
}

fn until_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// What git writes, `None` where it fails.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        // `status` would otherwise write the index while the user's own git does.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).ok(),
        Ok(output) => {
            tracing::debug!(status = %output.status, ?arguments, "git has no answer");
            None
        }
        Err(error) => {
            tracing::debug!(%error, "git cannot be started");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_lose_what_is_nobody_elses_business() {
        for (url, expected) in [
            (
                "https://github.com/a/b.git",
                Some("https://github.com/a/b.git"),
            ),
            (
                "https://me:ghp_secret@github.com/a/b",
                Some("https://github.com/a/b"),
            ),
            (
                "https://ghp_secret@github.com:8443/a/b",
                Some("https://github.com:8443/a/b"),
            ),
            ("https://h/a?private_token=secret#x", Some("https://h/a")),
            ("https://me:p@ss@h/a", Some("https://h/a")),
            ("https://me:p/secret@h/a", None),
            ("HTTPS://h/a", Some("https://h/a")),
            ("ssh://git@h:22/a/b.git", Some("ssh://h:22/a/b.git")),
            ("git@github.com:a/b.git", Some("ssh://github.com/a/b.git")),
            ("github.com:a/b.git", Some("ssh://github.com/a/b.git")),
            ("/home/me/b.git", None),
            ("../b.git", None),
            ("file:///home/me/b.git", None),
            ("ext::sh -c secret", None),
            ("me:secret@h:a/b.git", None),
            ("codecommit::eu://me@repo", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(public_url(url).as_deref(), expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_address_shows_its_token(user in "[a-z]{0,3}", rest in "[a-z/:@?#.]{0,12}") {
            for scheme in ["https", "ssh", "git"] {
                let url = format!("{scheme}://{user}:t0ken@{rest}");
                prop_assert!(!public_url(&url).unwrap_or_default().contains("t0ken"), "{}", url);
            }
        }
    }

    fn run(root: &Path, arguments: &[&str]) {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
            .args(arguments)
            .env("GIT_COMMITTER_DATE", "1714564800 +0000")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    #[test]
    fn a_repository_is_asked_for_its_commit_its_edits_and_its_remote() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(revision(&root.join("nowhere")), None);
        run(root, &["init", "--quiet"]);
        assert_eq!(revision(root), None, "no commit yet");
        fs::write(root.join("a"), "1").unwrap();
        run(root, &["add", "."]);
        run(root, &["commit", "--quiet", "--no-gpg-sign", "-m", "a"]);
        let clean = revision(root).unwrap();
        assert_eq!(clean.commit.len(), 40);
        assert_eq!(
            (clean.committed, clean.dirty, clean.remote),
            (1_714_564_800, false, None)
        );
        run(
            root,
            &[
                "remote",
                "add",
                "origin",
                "https://me:t0ken@example.com/a.git",
            ],
        );
        fs::write(root.join("a"), "2").unwrap();
        let edited = revision(root).unwrap();
        assert!(edited.dirty);
        assert_eq!(edited.remote.as_deref(), Some("https://example.com/a.git"));
    }
}
