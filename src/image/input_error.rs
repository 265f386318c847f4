//! Why the inputs of an image cannot be gathered.

use std::io;
use std::path::PathBuf;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Span};

/// A package, binary or profile that is not in the workspace.
const UNKNOWN: Code = Code::new("S0402");
/// `Cargo.lock` is missing or does not fit the manifests.
const LOCK: Code = Code::new("S0403");
/// A Cargo manifest that cannot be understood.
const MANIFEST: Code = Code::new("S0404");
/// A Dockerfile, a context or an input that does not exist.
const MISSING: Code = Code::new("S0405");
/// A file that cannot be read.
const READ: Code = Code::new("S0406");
/// No Rust compiler.
const COMPILER: Code = Code::new("S0407");
/// Cargo does not resolve the workspace.
const UNRESOLVED: Code = Code::new("S0417");
/// A platform that nothing can be built for.
const PLATFORM: Code = Code::new("S0418");
/// The lock file of Debian packages is missing, old or damaged.
const PACKAGES_LOCK: Code = Code::new("S0419");

/// A folder or a package without any file.
const EMPTY: Code = Code::new("S0450");
/// A link that leads in circles.
const LOOP: Code = Code::new("S0451");
/// A name that is no text.
const NOT_UTF8: Code = Code::new("S0452");
/// A place in an image that two want, or that is none.
const PLACE: Code = Code::new("S0453");

/// Why the tags of images cannot be computed: every reason at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ImageError(pub Vec<InputError>);

/// One reason.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// `build: { cargo: … }` names no package of the workspace.
    #[error("there is no package `{package}` in this workspace")]
    UnknownPackage {
        /// What was named.
        package: String,
        /// One with a similar name.
        suggestion: Option<String>,
        /// Where.
        span: Span,
    },
    /// The package has no such binary.
    #[error("package `{package}` has no binary `{bin}`")]
    UnknownBin {
        /// The package.
        package: String,
        /// What was named.
        bin: String,
        /// The binaries there are.
        known: Vec<String>,
        /// Where.
        span: Span,
    },
    /// Neither cargo nor the workspace knows the profile.
    #[error("there is no profile `{profile}` in this workspace")]
    UnknownProfile {
        /// What was named.
        profile: String,
        /// Where.
        span: Span,
    },
    /// The repository is no Cargo workspace.
    #[error("there is no Cargo.toml in the repository, but a service is built by cargo")]
    NoWorkspace {
        /// The service's build.
        span: Span,
    },
    /// A manifest or a lock file that is no TOML, or not what cargo writes.
    #[error("{message}")]
    Manifest {
        /// What is wrong.
        message: String,
        /// Where.
        place: Span,
    },
    /// There is no lock file.
    #[error("there is no Cargo.lock, so what an image would be made from is not known")]
    NoLock {
        /// The service's build.
        span: Span,
    },
    /// The manifests were edited after the lock file was written.
    #[error("Cargo.lock is out of date: it does not know that `{package}` needs `{dependency}`")]
    StaleLock {
        /// A package of the workspace.
        package: String,
        /// What it needs.
        dependency: String,
        /// The service's build.
        span: Span,
    },
    /// A package of the workspace is not in the lock file.
    #[error("Cargo.lock is out of date: it does not know the package `{package}`")]
    NotLocked {
        /// The package.
        package: String,
        /// The service's build.
        span: Span,
    },
    /// A path dependency's folder holds no manifest.
    #[error("`{}` of `{package}` does not exist", path.display())]
    MissingCrate {
        /// The manifest that is missing.
        path: PathBuf,
        /// Who depends on it.
        package: String,
        /// The service's build.
        span: Span,
    },
    /// A Dockerfile, a context or an input that does not exist.
    #[error("{what} `{}` does not exist", path.display())]
    Missing {
        /// `the Dockerfile`, `the context`, `the input`.
        what: &'static str,
        /// Relative to the repository.
        path: PathBuf,
        /// Where it is named.
        span: Span,
    },
    /// A folder that was named, with nothing in it.
    #[error("there is no file in `{}`", path.display())]
    Empty {
        /// `the file`, `the input`.
        what: &'static str,
        /// Relative to the repository.
        path: PathBuf,
        /// Where it is named.
        span: Span,
    },
    /// A package whose sources are not in its folder.
    #[error("the package in `{}` has no sources there", folder.display())]
    NoSources {
        /// Relative to the repository.
        folder: PathBuf,
        /// The build of a service that is compiled from it.
        span: Span,
    },
    /// A folder that would be walked for ever.
    #[error("the link `{}` leads back to a folder above it", path.display())]
    Loop {
        /// The link.
        path: PathBuf,
    },
    /// Inputs are text, and so are paths in an image.
    #[error("the name of `{}` is not UTF-8", path.display())]
    NotUtf8 {
        /// The file, or a link that leads to such a name.
        path: PathBuf,
    },
    /// Only one thing can be at a path of an image.
    #[error("{one} and {other} are both to be at `{place}`")]
    Collision {
        /// The path in the image.
        place: String,
        /// Such as `web/index.html`, in backticks, or `users`.
        one: String,
        /// The other one.
        other: String,
        /// Where they are written.
        spans: Vec<Span>,
    },
    /// A file cannot be the root of an image.
    #[error("`{}` is a file: it cannot be `/` itself", path.display())]
    AtRoot {
        /// The file.
        path: PathBuf,
        /// Where it is named.
        span: Span,
    },
    /// A file that cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pattern in `.dockerignore` that Docker refuses.
    #[error("`{pattern}` is no pattern: {reason}")]
    IgnorePattern {
        /// As written.
        pattern: String,
        /// Why.
        reason: String,
        /// Where.
        place: Span,
    },
    /// `rustc` could not be asked for its version.
    #[error("failed to ask `{rustc}` for its version")]
    Compiler {
        /// The program.
        rustc: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `rustc` answered with an error.
    #[error("`{rustc} -vV` failed")]
    CompilerFailed {
        /// The program.
        rustc: String,
        /// What it wrote.
        output: String,
    },
    /// `cargo tree` answered with an error.
    #[error("cargo cannot resolve what the services are compiled from")]
    Unresolved {
        /// What it wrote.
        output: String,
        /// A service's build.
        span: Span,
    },
    /// Nothing is made for this platform.
    #[error("binaries are not built for `{platform}`")]
    UnknownPlatform {
        /// As written.
        platform: String,
        /// Where.
        span: Span,
    },
    /// No packages are taken for this platform.
    #[error("images of Debian packages are not built for `{platform}`")]
    UnpackagedPlatform {
        /// As written.
        platform: String,
        /// Where.
        span: Span,
    },
    /// There is no lock file of the Debian packages, or it is one of other packages.
    #[error("`{}` {reason}", path.display())]
    PackagesLock {
        /// The lock file, relative to the repository.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Where the packages are named.
        span: Span,
    },
}

impl InputError {
    fn is_users_input(&self) -> bool {
        !matches!(
            self,
            Self::Read { .. } | Self::Compiler { .. } | Self::CompilerFailed { .. }
        )
    }

    /// What is said about it.
    pub(crate) fn diagnostic(&self) -> Diagnostic {
        let error = |code| Diagnostic::error(code, self.to_string());
        match self {
            Self::UnknownPackage {
                suggestion, span, ..
            } => {
                let found = error(UNKNOWN).at(span, "named here");
                match suggestion {
                    Some(name) => found.hint(format!("did you mean `{name}`?")),
                    None => found.hint("`cargo metadata --no-deps` lists the packages"),
                }
            }
            Self::UnknownBin { known, span, .. } => {
                error(UNKNOWN).at(span, "built here").hint(format!(
                    "write `bin:` with one of its binaries: {}",
                    known.join(", ")
                ))
            }
            Self::UnknownProfile { profile, span, .. } => {
                error(UNKNOWN).at(span, "built with it").hint(format!(
                    "declare `[profile.{profile}]` in the root Cargo.toml"
                ))
            }
            Self::NoWorkspace { span } => error(MANIFEST)
                .at(span, "built by cargo")
                .hint("the root of the Cargo workspace is the folder of stack.yaml"),
            Self::Manifest { place, .. } => error(MANIFEST).at(place, ""),
            Self::NoLock { span } => error(LOCK)
                .at(span, "built by cargo")
                .hint("run `cargo generate-lockfile` and commit Cargo.lock"),
            Self::StaleLock { span, .. } | Self::NotLocked { span, .. } => error(LOCK)
                .at(span, "built by cargo")
                .hint("run `cargo check` (or `cargo update --workspace`) and commit Cargo.lock"),
            Self::MissingCrate { span, .. } => error(MISSING).at(span, "built here"),
            Self::Missing { what, span, .. } => error(MISSING)
                .at(span, format!("names {what}"))
                .hint("paths are relative to the folder of stack.yaml"),
            Self::Empty { what, span, .. } => error(EMPTY)
                .at(span, format!("names {what}"))
                .hint("what makes it must run before: stackctl only copies"),
            Self::NoSources { span, .. } => error(EMPTY).at(span, "compiled from it").hint(
                "keep its sources in its folder, outside tests/, benches/ and examples/, and out of its .gitignore",
            ),
            Self::Loop { .. } => {
                error(LOOP).hint("remove the link: what is below it would have no end")
            }
            Self::NotUtf8 { .. } => error(NOT_UTF8).hint("rename it"),
            Self::Collision { spans, .. } => spans
                .iter()
                .fold(error(PLACE), |found, span| found.at(span, "to be there")),
            Self::AtRoot { span, .. } => error(PLACE)
                .at(span, "its place")
                .hint("write the whole path, such as `/etc/app.toml`"),
            Self::IgnorePattern { place, .. } => error(MISSING).at(place, ""),
            Self::Read { source, .. } => error(READ).caused_by(source),
            Self::Compiler { source, .. } => error(COMPILER)
                .caused_by(source)
                .hint("install Rust from https://rustup.rs, or set RUSTC"),
            Self::CompilerFailed { output, .. } => error(COMPILER).note(output.trim_end()),
            Self::Unresolved { output, span } => error(UNRESOLVED)
                .at(span, "built by cargo")
                .note(output.trim_end()),
            Self::UnknownPlatform { span, .. } => error(PLATFORM)
                .at(span, "named here")
                .hint("linux/amd64, linux/arm64, linux/riscv64 and linux/ppc64le are known"),
            Self::UnpackagedPlatform { span, .. } => error(PLATFORM).at(span, "named here").hint(
                "linux/amd64, linux/arm64, linux/arm/v7, linux/386, linux/ppc64le, linux/riscv64 and linux/s390x are known",
            ),
            Self::PackagesLock { span, .. } => error(PACKAGES_LOCK)
                .at(span, "the packages are named here")
                .hint("run `stackctl build --update-packages` and commit the lock file"),
        }
    }
}

impl Explain for ImageError {
    fn exit(&self) -> Exit {
        if self.0.iter().all(InputError::is_users_input) {
            Exit::BadInput
        } else {
            Exit::Failed
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        self.0.iter().map(InputError::diagnostic).collect()
    }
}

impl From<InputError> for ImageError {
    fn from(error: InputError) -> Self {
        Self(vec![error])
    }
}
