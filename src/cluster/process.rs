//! Who runs this program, and whether another run on this machine still lives.

use std::fs;

/// What tells a process from every other one, past and present: boot of the machine, namespace of
/// process ids, id, and start time. `None` where the system does not say (anything but Linux).
pub(super) fn own_mark() -> Option<String> {
    let process = std::process::id();
    Some(format!("{}/{process}/{}", machine()?, start_time(process)?))
}

/// Whether the process with this mark is known to be gone. False where that cannot be known: it ran on
/// another machine, in another container, or the mark is not one of ours.
pub(super) fn is_gone(mark: &str) -> bool {
    gone(mark).unwrap_or(false)
}

/// `user@host pid 4711`, for people.
pub(super) fn own_name() -> String {
    let user = ["USER", "LOGNAME", "USERNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "someone".to_owned());
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map_or_else(|| "somewhere".to_owned(), |host| host.trim().to_owned());
    format!("{user}@{host} pid {}", std::process::id())
}

fn gone(mark: &str) -> Option<bool> {
    let rest = mark.strip_prefix(&machine()?)?.strip_prefix('/')?;
    let (process, started) = rest.split_once('/')?;
    let process: u32 = process.parse().ok()?;
    // Without a /proc that shows at least this process, nothing can be told.
    start_time(std::process::id())?;
    Some(start_time(process).as_deref() != Some(started))
}

/// Two processes with the same value see each other's ids.
fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

/// Field 22 of `/proc/PID/stat` (proc(5)): in ticks since boot. The name before it may hold spaces.
fn start_time(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_only_where_that_is_certain() {
        let own = own_mark().unwrap();
        assert!(!is_gone(&own), "this process lives");
        let (place, _) = own.rsplit_once('/').unwrap();
        assert!(
            is_gone(&format!("{place}/1")),
            "another process had this id before"
        );
        let elsewhere = own.replacen(|c: char| c.is_ascii_hexdigit(), "zz", 1);
        assert!(!is_gone(&elsewhere), "another machine");
        assert!(!is_gone("anything"));
    }

    #[test]
    fn a_child_that_has_ended_is_gone() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let mark = format!(
            "{}/{}/{}",
            machine().unwrap(),
            child.id(),
            start_time(child.id()).unwrap()
        );
        assert!(!is_gone(&mark));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_gone(&mark));
    }
}
