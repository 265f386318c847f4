//! What of the user's environment reaches cargo, and what of that is an input. The rest is withheld: a binary must
//! not depend on a variable that its tag does not hold. Pure but for [`Environment::of_process`].

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What programs need to work, and what does not change what they make.
const NEEDED: [&str; 40] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TMP",
    "TEMP",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "LANG",
    "LANGUAGE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "LD_LIBRARY_PATH",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "RUST_MIN_STACK",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_HOME",
    "CARGO_INCREMENTAL",
    "CARGO_LOG",
    "CARGO_BUILD_JOBS",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "SSH_ASKPASS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "GIT_ASKPASS",
];
const NEEDED_PREFIXES: [&str; 14] = [
    "LC_",
    "RUSTUP_",
    "CARGO_CACHE_",
    "CARGO_CREDENTIAL_",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_RESOLVER_",
    "CARGO_TERM_",
    "CCACHE_",
    "GIT_CONFIG",
    "GIT_SSH",
    "SCCACHE_",
];
/// What rustc, the C compiler and the libraries that find it read.
const COUNTED: [&str; 17] = [
    "RUSTFLAGS",
    "RUSTC_BOOTSTRAP",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_INCREMENTAL",
    "CROSS_COMPILE",
    "CC_FORCE_DISABLE",
    "CC_SHELL_ESCAPED_FLAGS",
    "CRATE_CC_NO_DEFAULTS",
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
    "LIBRARY_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "NIX_CC",
    "NIX_BINTOOLS",
];
const COUNTED_PREFIXES: [&str; 10] = [
    "CARGO_HOST_",
    "CARGO_PROFILE_",
    "CARGO_SOURCE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "CMAKE",
    "NIX_CC_WRAPPER_",
    "NIX_CFLAGS",
    "NIX_LDFLAGS",
    "PKG_CONFIG",
];
/// Variables that the crate `cc` reads as they are, for the host, for the target, and for a target by its name.
const OF_CC: [&str; 14] = [
    "CC",
    "CXX",
    "AR",
    "AS",
    "LD",
    "NM",
    "RANLIB",
    "CPPFLAGS",
    "CFLAGS",
    "CXXFLAGS",
    "ASFLAGS",
    "LDFLAGS",
    "ARFLAGS",
    "RANLIBFLAGS",
];
/// Variables that cargo gives to build scripts: their names in an output tell nothing about the user's.
const OF_BUILD_SCRIPTS: [&str; 10] = [
    "OUT_DIR",
    "TARGET",
    "HOST",
    "NUM_JOBS",
    "OPT_LEVEL",
    "PROFILE",
    "DEBUG",
    "CARGO",
    "RUSTDOC",
    "PWD",
];

/// The variables of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Passed on, and no input.
    Needed,
    /// Passed on, and an input where it is set.
    Counted,
    /// Neither, unless a service declares it.
    Withheld,
}

impl Environment {
    /// That of this process. Names that are no text are nobody's.
    pub(crate) fn of_process() -> Self {
        let variables = env::vars_os();
        Self(
            variables
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect(),
        )
    }

    /// A variable that is set and text.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str()
    }

    /// Cargo's home folder.
    pub(crate) fn cargo_home(&self) -> Option<PathBuf> {
        match self.0.get("CARGO_HOME") {
            Some(home) => Some(home.into()),
            None => Some(self.home()?.join(".cargo")),
        }
    }

    /// Rustup's home folder.
    pub(crate) fn rustup_home(&self) -> Option<PathBuf> {
        match self.0.get("RUSTUP_HOME") {
            Some(home) => Some(home.into()),
            None => Some(self.home()?.join(".rustup")),
        }
    }

    /// The file that is started as `program`.
    pub(crate) fn program(&self, program: &str) -> Option<PathBuf> {
        if program.contains('/') {
            return Some(program.into());
        }
        env::split_paths(self.0.get("PATH")?)
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
    }

    /// Variables that are inputs of every cargo service where they are set, with the digests of their values.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&str, String)> {
        self.0
            .iter()
            .filter(|(name, _)| role(name) == Role::Counted)
            .map(|(name, value)| (name.as_str(), digest(value)))
    }

    /// The digest of a variable that a service declares; that it is not set is a value, too.
    pub(crate) fn declared(&self, name: &str) -> String {
        self.0
            .get(name)
            .map_or_else(|| "unset".to_owned(), |value| digest(value))
    }

    /// What cargo is started with.
    pub(crate) fn passed(
        &self,
        declared: &BTreeSet<String>,
    ) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0
            .iter()
            .filter(|(name, _)| role(name) != Role::Withheld || declared.contains(*name))
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }

    /// Whether a variable is set here and cargo is not told.
    pub(crate) fn withholds(&self, name: &str, declared: &BTreeSet<String>) -> bool {
        self.0.contains_key(name)
            && role(name) == Role::Withheld
            && !declared.contains(name)
            && !OF_BUILD_SCRIPTS.contains(&name)
    }

    fn home(&self) -> Option<PathBuf> {
        match self.0.get("HOME") {
            Some(home) => Some(home.into()),
            None => env::home_dir(),
        }
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.into());
        Self(variables.into_iter().map(owned).collect())
    }
}

fn role(name: &str) -> Role {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    // Cargo is told its folder by us, and runs nothing.
    if name == "CARGO_TARGET_DIR"
        || (name.starts_with("CARGO_TARGET_") && name.ends_with("_RUNNER"))
    {
        return Role::Withheld;
    }
    if NEEDED.contains(&name)
        || starts(&NEEDED_PREFIXES)
        || name.to_ascii_lowercase().ends_with("_proxy")
    {
        return Role::Needed;
    }
    match COUNTED.contains(&name) || starts(&COUNTED_PREFIXES) || is_of_cc(name) {
        true => Role::Counted,
        false => Role::Withheld,
    }
}

/// `CC`, `HOST_CC`, `TARGET_CC`, `CC_x86_64-unknown-linux-gnu`, `CC_x86_64_unknown_linux_gnu`
fn is_of_cc(name: &str) -> bool {
    let plain = ["HOST_", "TARGET_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if plain.starts_with("PKG_CONFIG") {
        return true;
    }
    OF_CC.iter().any(|variable| {
        plain.strip_prefix(variable).is_some_and(|rest| {
            // Targets are written small, which tells them from names such as LD_PRELOAD.
            let target = rest.strip_prefix('_');
            rest.is_empty()
                || target.is_some_and(|target| target.starts_with(|c: char| c.is_ascii_lowercase()))
        })
    })
}

/// Of a value, which may be secret.
fn digest(value: &OsStr) -> String {
    blake3::hash(value.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_is_needed_counted_or_withheld() {
        for (name, expected) in [
            ("PATH", "needed"),
            ("LC_ALL", "needed"),
            ("https_proxy", "needed"),
            ("ALL_PROXY", "needed"),
            ("RUSTUP_TOOLCHAIN", "needed"),
            ("CARGO_NET_OFFLINE", "needed"),
            ("SSH_AUTH_SOCK", "needed"),
            ("GIT_SSH_COMMAND", "needed"),
            ("SCCACHE_DIR", "needed"),
            ("RUSTC_WRAPPER", "needed"),
            ("RUSTFLAGS", "counted"),
            ("CARGO_PROFILE_RELEASE_LTO", "counted"),
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "counted"),
            ("CC", "counted"),
            ("HOST_CXX", "counted"),
            ("CFLAGS_x86_64-unknown-linux-gnu", "counted"),
            ("AR_x86_64_unknown_linux_gnu", "counted"),
            ("PKG_CONFIG_PATH", "counted"),
            ("TARGET_PKG_CONFIG_SYSROOT_DIR", "counted"),
            ("LD_PRELOAD", "withheld"),
            ("CCX", "withheld"),
            ("CARGO_TARGET_DIR", "withheld"),
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "withheld"),
            ("CARGO_PKG_VERSION", "withheld"),
            ("TZ", "withheld"),
            ("APP_VERSION", "withheld"),
            ("DATABASE_URL", "withheld"),
        ] {
            let found = match role(name) {
                Role::Needed => "needed",
                Role::Counted => "counted",
                Role::Withheld => "withheld",
            };
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_declared_variable_is_passed_on_and_its_value_is_shown_to_nobody() {
        let environment = Environment::from_iter([
            ("PATH", "/bin"),
            ("APP_VERSION", "1.2.3"),
            ("TOKEN", "hunter2"),
            ("CC", "clang"),
        ]);
        let passed = |declared: &[&str]| -> Vec<String> {
            let declared = declared.iter().map(|&name| name.to_owned()).collect();
            environment
                .passed(&declared)
                .map(|(name, _)| name.to_owned())
                .collect()
        };
        assert_eq!(passed(&[]), ["CC", "PATH"]);
        assert_eq!(passed(&["APP_VERSION"]), ["APP_VERSION", "CC", "PATH"]);
        let counted: Vec<&str> = environment.counted().map(|(name, _)| name).collect();
        assert_eq!(counted, ["CC"]);
        assert_eq!(environment.declared("TOKEN").len(), 64);
        assert_eq!(environment.declared("NOWHERE"), "unset");
        assert!(environment.withholds("TOKEN", &BTreeSet::new()));
        assert!(!environment.withholds("TOKEN", &["TOKEN".to_owned()].into()));
        assert!(!environment.withholds("CC", &BTreeSet::new()));
        assert!(!environment.withholds("NOWHERE", &BTreeSet::new()));
    }
}
