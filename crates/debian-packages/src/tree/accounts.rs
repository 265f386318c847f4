//! `/etc/passwd` and `/etc/group` of declared accounts.

use std::collections::BTreeSet;

use super::{EntryPath, Node, Tree, TreeError};

/// The users and groups of an image; root is always there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Users, each with a group of the same name and number.
    pub users: Vec<Account>,
}

/// A user with a group of the same name and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name of both.
    pub name: String,
    /// The number of both.
    pub id: u32,
    /// The home folder.
    pub home: String,
    /// The login shell, `/usr/sbin/nologin` for those that never log in.
    pub shell: String,
}

const ROOT: (&str, &str) = ("root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n");

/// Writes both files, sorted by number. Where a package or an overlay has one, that stays.
pub(super) fn add(tree: &mut Tree, accounts: &Accounts) -> Result<(), TreeError> {
    let mut users: Vec<_> = accounts.users.iter().collect();
    users.sort_by_key(|account| (account.id, &account.name));
    let (mut passwd, mut group) = (ROOT.0.to_owned(), ROOT.1.to_owned());
    let mut known = BTreeSet::from([("root".to_owned(), 0)]);
    for account in users {
        check(account, &known)?;
        known.insert((account.name.clone(), account.id));
        let Account {
            name,
            id,
            home,
            shell,
        } = account;
        passwd.push_str(&format!("{name}:x:{id}:{id}:{name}:{home}:{shell}\n"));
        group.push_str(&format!("{name}:x:{id}:\n"));
    }
    for (path, content) in [("etc/passwd", passwd), ("etc/group", group)] {
        let path = EntryPath::parse(path).expect("a path");
        tree.nodes
            .entry(path)
            .or_insert_with(|| Node::bytes(&content));
    }
    Ok(())
}

fn check(account: &Account, known: &BTreeSet<(String, u32)>) -> Result<(), TreeError> {
    let refused = |problem| {
        Err(TreeError::Account {
            name: account.name.clone(),
            problem,
        })
    };
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    if !account.name.starts_with(first)
        || !account.name.chars().all(rest)
        || account.name.len() > 32
    {
        return refused("has a name that is not of the form [a-z_][a-z0-9_-]*");
    }
    let path = |text: &str| text.starts_with('/') && !text.contains([':', '\n']);
    if !path(&account.home) || !path(&account.shell) {
        return refused("needs absolute paths without colons");
    }
    if known
        .iter()
        .any(|(name, id)| *name == account.name || *id == account.id)
    {
        return refused("has the name or number of another one");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::text;

    fn account(name: &str, id: u32) -> Account {
        Account {
            name: name.to_owned(),
            id,
            home: "/data".to_owned(),
            shell: "/usr/sbin/nologin".to_owned(),
        }
    }

    fn files(users: &[Account]) -> Result<(String, String), TreeError> {
        let mut tree = Tree::default();
        add(
            &mut tree,
            &Accounts {
                users: users.to_vec(),
            },
        )?;
        Ok((text(&tree, "etc/passwd"), text(&tree, "etc/group")))
    }

    #[test]
    fn sorted_by_number_after_root() {
        let (passwd, group) = files(&[account("redis", 998), account("app", 100)]).unwrap();
        assert_eq!(
            passwd,
            "root:x:0:0:root:/root:/bin/sh\n\
             app:x:100:100:app:/data:/usr/sbin/nologin\n\
             redis:x:998:998:redis:/data:/usr/sbin/nologin\n"
        );
        assert_eq!(group, "root:x:0:\napp:x:100:\nredis:x:998:\n");
    }

    #[test]
    fn what_would_break_the_files_is_refused() {
        let mut odd = account("a", 5);
        odd.home = "/x:0:0".to_owned();
        for users in [
            vec![account("a:b", 1)],
            vec![account("", 1)],
            vec![account("a", 0)],
            vec![account("root", 7)],
            vec![account("a", 1), account("a", 2)],
            vec![account("a", 1), account("b", 1)],
            vec![odd],
        ] {
            assert!(
                matches!(files(&users), Err(TreeError::Account { .. })),
                "{users:?}"
            );
        }
    }
}
