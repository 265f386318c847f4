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
}

/// Whom files belong to that nobody is to own, and the kernel takes for users it cannot show.
const NOBODY: u32 = 65_534;
/// Nobody logs in to a container.
const SHELL: &str = "/usr/sbin/nologin";

impl Accounts {
    /// `/etc/passwd`: root, the users by their numbers, and nobody.
    #[must_use]
    pub fn passwd(&self) -> String {
        let mut text = format!("root:x:0:0:root:/root:{SHELL}\n");
        for Account { name, id, home } in self.by_number() {
            text += &format!("{name}:x:{id}:{id}:{name}:{home}:{SHELL}\n");
        }
        if !self.has("nobody") {
            text += &format!("nobody:x:{NOBODY}:{NOBODY}:nobody:/nonexistent:{SHELL}\n");
        }
        text
    }

    /// `/etc/group` in the same order.
    #[must_use]
    pub fn group(&self) -> String {
        let mut text = "root:x:0:\n".to_owned();
        for Account { name, id, .. } in self.by_number() {
            text += &format!("{name}:x:{id}:\n");
        }
        if !self.has("nogroup") {
            text += &format!("nogroup:x:{NOBODY}:\n");
        }
        text
    }

    fn by_number(&self) -> Vec<&Account> {
        let mut users: Vec<_> = self.users.iter().collect();
        users.sort_by_key(|account| (account.id, &account.name));
        users
    }

    fn has(&self, name: &str) -> bool {
        let mut users = self.users.iter();
        users.any(|account| account.name == name || account.id == NOBODY)
    }
}

/// Writes both files. Where a package has one, that stays.
pub(super) fn add(tree: &mut Tree, accounts: &Accounts) -> Result<(), TreeError> {
    let mut known = BTreeSet::from([("root".to_owned(), 0)]);
    for account in &accounts.users {
        check(account, &known)?;
        known.insert((account.name.clone(), account.id));
    }
    let (passwd, group) = (accounts.passwd(), accounts.group());
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
    if !path(&account.home) {
        return refused("needs a home that is an absolute path without colons");
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
    fn sorted_by_number_between_root_and_nobody() {
        let (passwd, group) = files(&[account("redis", 998), account("app", 100)]).unwrap();
        assert_eq!(
            passwd,
            "root:x:0:0:root:/root:/usr/sbin/nologin\n\
             app:x:100:100:app:/data:/usr/sbin/nologin\n\
             redis:x:998:998:redis:/data:/usr/sbin/nologin\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(
            group,
            "root:x:0:\napp:x:100:\nredis:x:998:\nnogroup:x:65534:\n"
        );
    }

    #[test]
    fn nobody_is_there_once() {
        for (name, id, groups) in [
            ("nobody", 99, "nobody:x:99:\nnogroup:x:65534:\n"),
            ("app", 65_534, "app:x:65534:\n"),
        ] {
            let (passwd, group) = files(&[account(name, id)]).unwrap();
            let line = format!("{name}:x:{id}:{id}:{name}:/data:/usr/sbin/nologin");
            let users: Vec<&str> = passwd.lines().skip(1).collect();
            assert_eq!(users, [line]);
            assert_eq!(group, format!("root:x:0:\n{groups}"));
        }
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
