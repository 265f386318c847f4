//! Images that are assembled here, layer by layer: a base, Debian packages, files, binaries of this workspace.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_image::{Compression, Digest, Platform, Reference};

use crate::diagnostic::Span;
use crate::name::VariableName;

/// Who a program runs as where nothing else is written: numeric, since there may be no `/etc/passwd`.
const USER: &str = "65532:65532";
/// Layers from the bottom up, and how the program in them runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeBuild {
    /// The image whose layers lie below.
    pub base: Option<Base>,
    /// Debian packages.
    pub packages: Option<PackagesBuild>,
    /// Files of the repository, users, folders and links.
    pub files: FilesBuild,
    /// Binaries of this workspace.
    pub cargo: Option<CargoBuild>,
    /// How a container of the image runs.
    pub run: RunOptions,
    /// What it is built for; empty: this machine's processor.
    pub platforms: Vec<WantedPlatform>,
    /// How its layers are kept and sent: gzip, which everything reads, or zstd.
    pub compression: Compression,
    /// Where it is written.
    pub span: Span,
}

/// One of `platforms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPlatform {
    /// Such as `linux/arm64`.
    pub platform: Platform,
    /// Where it is written.
    pub span: Span,
}

/// `base: REFERENCE@sha256:…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// With its digest: a tag alone may be another image tomorrow.
    pub reference: Reference,
    /// That digest.
    pub digest: Digest,
    /// Where it is written.
    pub span: Span,
}

/// `cargo: PACKAGE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CargoBuild {
    /// The package.
    pub package: String,
    /// The binary that is started; default: the package's name.
    pub bin: String,
    /// Further binaries that lie beside it.
    pub bins: Vec<String>,
    /// Cargo's profile; default `release`.
    pub profile: String,
    /// Features that are switched on.
    pub features: Vec<String>,
    /// Whether the package's default features are on.
    pub default_features: bool,
    /// What it is compiled from beside its packages.
    pub inputs: Vec<CargoInput>,
    /// Where the package is named.
    pub span: Span,
}

/// One of `inputs: [shared/x.sql, $APP_VERSION]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CargoInput {
    /// A file or folder of the repository.
    Path {
        /// Relative to the repository.
        path: PathBuf,
        /// Where it is named.
        span: Span,
    },
    /// A variable of the user's environment, which cargo does not see otherwise.
    Variable(VariableName),
}

/// `packages: [NAME, …]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackagesBuild {
    /// What is asked for; what they need comes with them.
    pub names: Vec<String>,
    /// What is left out although something needs it.
    pub without: Vec<String>,
    /// The paths that are taken of a package, where it is not all of them.
    pub only: BTreeMap<String, Vec<String>>,
    /// Patterns of paths that are taken of no package.
    pub drop: Vec<String>,
    /// Programs of busybox that get a link.
    pub applets: Vec<String>,
    /// Patterns of programs and libraries that need not find what they link.
    pub unchecked: Vec<String>,
    /// Debian's release.
    pub suite: String,
    /// The exact versions, relative to the repository: `services/NAME/packages.lock`.
    pub lock: PathBuf,
    /// Where the packages are named.
    pub span: Span,
}

/// What is laid over packages and base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesBuild {
    /// From a file or folder, relative to the repository, to an absolute path in the image.
    pub copies: BTreeMap<PathBuf, Copied>,
    /// Lines of `/etc/passwd` and `/etc/group` that the image has beside root and nobody.
    pub users: BTreeMap<String, User>,
    /// Folders that are there whatever packages bring.
    pub folders: BTreeMap<String, Folder>,
    /// Symbolic links: path → target.
    pub links: BTreeMap<String, String>,
}

/// Where a file or folder lands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Absolute, in the image.
    pub to: String,
    /// Where it is written.
    pub span: Span,
}

/// A user and the group of the same name and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The number of both.
    pub uid: u32,
    /// The home folder.
    pub home: String,
}

/// A folder of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// One of `users`, or root.
    pub owner: Option<String>,
    /// Such as `0o755`.
    pub mode: u32,
}

/// How a container of the image runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// `UID:GID`, numeric, so that Kubernetes can check `runAsNonRoot`.
    pub user: String,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// The program and its fixed arguments; empty: the binary.
    pub entrypoint: Vec<String>,
    /// Arguments that a pod may replace.
    pub arguments: Vec<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// What asks it to end, where it is not SIGTERM.
    pub stop_signal: Option<String>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            user: USER.to_owned(),
            variables: BTreeMap::new(),
            entrypoint: Vec::new(),
            arguments: Vec::new(),
            working_dir: None,
            stop_signal: None,
        }
    }
}

impl CargoBuild {
    /// A package's own binary, as everything is by default.
    #[must_use]
    pub fn new(package: &str, span: Span) -> Self {
        Self {
            package: package.to_owned(),
            bin: package.to_owned(),
            bins: Vec::new(),
            profile: "release".to_owned(),
            features: Vec::new(),
            default_features: true,
            inputs: Vec::new(),
            span,
        }
    }

    /// The variables it is compiled with.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        self.inputs.iter().filter_map(|input| match input {
            CargoInput::Variable(name) => Some(name.to_string()),
            CargoInput::Path { .. } => None,
        })
    }

    /// The binary that is started and those beside it.
    pub fn all_bins(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.bin)
            .chain(&self.bins)
            .map(String::as_str)
    }
}

impl NativeBuild {
    /// What is laid over the packages: users, folders and links are part of their layer, where there is one.
    #[must_use]
    pub fn beside_packages(&self) -> FilesBuild {
        match self.packages {
            None => self.files.clone(),
            Some(_) => FilesBuild {
                copies: self.files.copies.clone(),
                ..FilesBuild::default()
            },
        }
    }
}

/// An image with nothing in it but the binary.
impl From<CargoBuild> for NativeBuild {
    fn from(cargo: CargoBuild) -> Self {
        Self {
            base: None,
            packages: None,
            files: FilesBuild::default(),
            run: RunOptions::default(),
            platforms: Vec::new(),
            compression: Compression::Gzip,
            span: cargo.span.clone(),
            cargo: Some(cargo),
        }
    }
}

impl FilesBuild {
    /// Whether there is nothing to lay over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
            && self.users.is_empty()
            && self.folders.is_empty()
            && self.links.is_empty()
    }
}
