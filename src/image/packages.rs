//! The layer of Debian packages: exact versions from a lock file, unpacked without a package manager.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;

use debian_packages::{
    Activity, Cache, DebFile, Fetcher, Folder, Lock, LockFile, Mirrors, Request, Source, Tree,
    TreeOptions,
};
use oci_image::Platform;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, EventSink, Phase, TaskOutcome};
use crate::stack::{Build, FilesBuild, PackagesBuild, ServiceName, Stack};
use crate::timings::Step;

use super::assemble::{LayerOptions, write_layer};
use super::background::blocking;
use super::build::Session;
use super::build_error::BuildError;
use super::cache_key::Inputs;
use super::files::{Files, read_error};
use super::input_error::InputError;
use super::packages_error::{PackagesError, PackagesFailure};
use super::progress::Task;
use super::rootfs;
use super::store::{Store, StoredLayer};
use super::target;

/// Where packages come from instead of `http://deb.debian.org`: a mirror with `debian/` and `debian-security/`.
const MIRROR: &str = "STACKCTL_DEBIAN_MIRROR";
/// The keys that Debian's archives are signed with, where they are not those of `debian-archive-keyring`.
const KEYRING: &str = "STACKCTL_DEBIAN_KEYRING";
/// What the mirror stands for.
const ARCHIVE: &str = "http://deb.debian.org";

/// Adds the lock file and what is taken of its packages; the file must be there and answer what is wanted.
pub(crate) fn add_inputs(
    inputs: &mut Inputs,
    wanted: &PackagesBuild,
    platforms: &[Platform],
    files: &Files,
) -> Result<(), InputError> {
    let locks = read_lock(files.root(), wanted)?;
    for platform in platforms {
        let lock = lock_for(&locks, wanted, platform)?;
        inputs.add(
            "packages",
            &lock.architecture,
            blake3::hash(lock.to_string().as_bytes())
                .to_hex()
                .to_string(),
        );
    }
    for (package, paths) in &wanted.only {
        inputs.add("only", package, paths.join("\n"));
    }
    for (name, list) in [
        ("drop", &wanted.drop),
        ("applets", &wanted.applets),
        ("unchecked", &wanted.unchecked),
    ] {
        inputs.add("packages", name, list.join("\n"));
    }
    Ok(())
}

/// What a layer is made from.
pub(crate) struct Wanted<'a> {
    /// For whom.
    pub service: &'a ServiceName,
    /// Which packages.
    pub packages: &'a PackagesBuild,
    /// Users, folders and links among them.
    pub files: &'a FilesBuild,
    /// For what.
    pub platform: &'a Platform,
    /// How it is written.
    pub options: LayerOptions,
}

/// The layer for one platform; made once for the same packages and options.
pub(crate) async fn layer(
    session: &Session<'_>,
    wanted: &Wanted<'_>,
    task: &Task<'_>,
) -> Result<StoredLayer, BuildError> {
    let packages = wanted.packages;
    let locks = read_lock(&session.stack.root, packages)?;
    let lock = lock_for(&locks, packages, wanted.platform)?;
    let options = tree_options(packages, wanted.files, lock);
    let store = session.context.store;
    let key = format!("packages 2 {:?}\n{lock}\n{options:?}", wanted.options);
    let key = blake3::hash(key.as_bytes()).to_hex();
    if let Some(layer) = store.layer(&key) {
        return Ok(layer);
    }
    let failed = |failure: PackagesFailure| BuildError::from(PackagesError::new(packages, failure));
    let fetcher = fetcher(store).map_err(failed)?;
    let progress = reporter(task);
    let timings = session.context.timings;
    let downloading = timings.span(wanted.service.as_str(), Step::Download);
    let files = tokio::select! {
        files = debian_packages::fetch(lock, &fetcher, &progress) => files.map_err(|error| failed(Box::new(error).into()))?,
        () = session.context.cancel.cancelled() => return Err(BuildError::Interrupted),
    };
    downloading.end();
    let _unpacking = timings.span(wanted.service.as_str(), Step::Assemble);
    task.progress("unpacking");
    let unpacking = Unpacking {
        store: store.clone(),
        files,
        tree: options,
        layer: wanted.options,
        packages: packages.clone(),
    };
    let layer = blocking(move || unpacking.run()).await?;
    store.keep_layer(&key, &layer);
    Ok(layer)
}

/// Writes the lock files of the chosen services anew, with the newest versions there are.
pub async fn update_packages(
    stack: &Stack,
    only: Option<&[ServiceName]>,
    store: &Store,
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<(), BuildError> {
    for service in stack.services.values() {
        let Build::Native(build) = &service.build else {
            continue;
        };
        let Some(wanted) = &build.packages else {
            continue;
        };
        if only.is_some_and(|only| !only.contains(&service.name)) {
            continue;
        }
        target::check(build)?;
        let platforms = target::platforms(build);
        let task = Task::start(events, Phase::Build, service.name.as_str());
        let updated = tokio::select! {
            updated = resolve(wanted, &platforms, store, &task) => updated?,
            () = cancel.cancelled() => return Err(BuildError::Interrupted),
        };
        let before = read_lock(&stack.root, wanted).unwrap_or_default();
        write_lock(&stack.root, wanted, &updated)?;
        for change in changes(&before, &updated) {
            events.emit(Event::Note(format!("{}: {change}", service.name)));
        }
        let packages: usize = updated.locks.values().map(|lock| lock.packages.len()).sum();
        task.finish(TaskOutcome::Done, format!("{packages} packages locked"));
    }
    Ok(())
}

async fn resolve(
    wanted: &PackagesBuild,
    platforms: &[Platform],
    store: &Store,
    task: &Task<'_>,
) -> Result<LockFile, BuildError> {
    let failed = |failure: PackagesFailure| BuildError::from(PackagesError::new(wanted, failure));
    let fetcher = fetcher(store).map_err(failed)?;
    let mut file = LockFile::default();
    for platform in platforms {
        let request = request(wanted, platform)?;
        let lock = debian_packages::resolve(&request, &fetcher, &reporter(task)).await;
        let lock = lock.map_err(|error| failed(error.into()))?;
        file.locks.insert(lock.architecture.clone(), lock);
    }
    Ok(file)
}

/// Debian's name of a platform; none where its packages would not run.
pub(super) fn architecture(platform: &Platform) -> Option<&'static str> {
    let variant = platform.variant.as_deref();
    Some(match (platform.architecture.as_str(), variant) {
        _ if platform.os != "linux" => return None,
        ("amd64", _) => "amd64",
        ("arm64", _) => "arm64",
        ("arm", None | Some("v7")) => "armhf",
        ("386", _) => "i386",
        ("ppc64le", _) => "ppc64el",
        ("riscv64", _) => "riscv64",
        ("s390x", _) => "s390x",
        _ => return None,
    })
}

/// `bookworm`, or `bookworm@20260711T000000Z` as it was then.
fn request(wanted: &PackagesBuild, platform: &Platform) -> Result<Request, InputError> {
    let architecture = architecture(platform).ok_or_else(|| InputError::UnpackagedPlatform {
        platform: platform.to_string(),
        span: wanted.span.clone(),
    })?;
    let mut sources = match wanted.suite.split_once('@') {
        Some((release, time)) => Source::debian_snapshot(release, time),
        None => Source::debian(&wanted.suite),
    };
    if let Some(keyring) = env::var_os(KEYRING).filter(|path| !path.is_empty()) {
        for source in &mut sources {
            source.keyring = keyring.clone().into();
        }
    }
    Ok(Request {
        sources,
        architecture: architecture.to_owned(),
        packages: wanted.names.clone(),
        exclude: wanted.without.iter().cloned().collect(),
        without_dependencies: wanted.only.keys().cloned().collect(),
    })
}

fn fetcher(store: &Store) -> Result<Fetcher, PackagesFailure> {
    let mut mirrors = Mirrors::default();
    if let Ok(mirror) = env::var(MIRROR)
        && !mirror.is_empty()
    {
        mirrors.insert(ARCHIVE, &mirror);
    }
    Ok(Fetcher::new(Cache::open(store.debian())?, mirrors)?)
}

pub(super) fn read_lock(root: &Path, wanted: &PackagesBuild) -> Result<LockFile, InputError> {
    let refused = |reason: String| InputError::PackagesLock {
        path: wanted.lock.clone(),
        reason,
        span: wanted.span.clone(),
    };
    let text = match fs::read_to_string(root.join(&wanted.lock)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused(
                "does not exist, so no versions are known".to_owned(),
            ));
        }
        text => text.map_err(|source| read_error(&wanted.lock, source))?,
    };
    text.parse()
        .map_err(|error: debian_packages::InvalidLock| refused(format!("is damaged: {error}")))
}

pub(super) fn lock_for<'a>(
    locks: &'a LockFile,
    wanted: &PackagesBuild,
    platform: &Platform,
) -> Result<&'a Lock, InputError> {
    let request = request(wanted, platform)?;
    match locks.locks.get(&request.architecture) {
        Some(lock) if lock.request == request.digest() => Ok(lock),
        found => Err(InputError::PackagesLock {
            path: wanted.lock.clone(),
            reason: match found {
                Some(_) => "was written for other packages than service.yaml names".to_owned(),
                None => format!("has no packages for {}", request.architecture),
            },
            span: wanted.span.clone(),
        }),
    }
}

fn write_lock(root: &Path, wanted: &PackagesBuild, locks: &LockFile) -> Result<(), BuildError> {
    let path = root.join(&wanted.lock);
    let folder = path.parent().unwrap_or(root);
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(locks.to_string().as_bytes())?;
        // Temporary files are private, this one is committed.
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
        file.persist(&path).map_err(|error| error.error)
    });
    written.map(|_| ()).map_err(|source| BuildError::File {
        action: format!("write {}", wanted.lock.display()),
        source,
    })
}

/// What is not the same, a line for each package: `libssl3 3.0.15-1 → 3.0.17-1`. Nothing where all is new.
fn changes(before: &LockFile, after: &LockFile) -> Vec<String> {
    let versions = |locks: &LockFile| -> BTreeMap<String, String> {
        locks
            .locks
            .values()
            .flat_map(Lock::packages)
            .map(|package| (package.name.clone(), package.version.to_string()))
            .collect()
    };
    let (before, after) = (versions(before), versions(after));
    let mut changes = Vec::new();
    if before.is_empty() {
        return changes;
    }
    for (name, version) in &after {
        match before.get(name) {
            None => changes.push(format!("{name} {version} is new")),
            Some(old) if old != version => changes.push(format!("{name} {old} → {version}")),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    changes.extend(gone.map(|name| format!("{name} is gone")));
    changes
}

fn tree_options(wanted: &PackagesBuild, files: &FilesBuild, lock: &Lock) -> TreeOptions {
    let ids = |owner: &Option<String>| {
        let user = owner.as_ref().and_then(|name| files.users.get(name));
        user.map_or(0, |user| u64::from(user.uid))
    };
    let folder = |(path, folder): (&String, &crate::stack::Folder)| Folder {
        path: path.clone(),
        mode: folder.mode,
        uid: ids(&folder.owner),
        gid: ids(&folder.owner),
    };
    TreeOptions {
        drop: wanted.drop.clone(),
        only: wanted.only.clone(),
        accounts: rootfs::accounts(files),
        folders: files.folders.iter().map(folder).collect(),
        links: files.links.clone(),
        applets: wanted.applets.clone(),
        left_out: lock
            .left_out
            .iter()
            .map(|package| package.name.clone())
            .collect(),
        unchecked: wanted.unchecked.clone(),
        ..TreeOptions::default()
    }
}

/// Shows what is downloaded: `12.3 of 41 MB`.
fn reporter<'a>(task: &'a Task<'_>) -> impl Fn(Activity<'_>) + Send + Sync + 'a {
    let state = Mutex::new((0i64, 0u64));
    move |activity| {
        let mut state = state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match activity {
            Activity::Release { suite } => task.progress(format!("verified {suite}")),
            Activity::Index { suite, .. } => task.progress(format!("reading the index of {suite}")),
            Activity::Missing { packages, size } => {
                *state = (0, size);
                task.progress(format!(
                    "downloading {packages} packages, {}",
                    megabytes(size)
                ));
            }
            Activity::Bytes(bytes) => {
                state.0 += bytes;
                let done = u64::try_from(state.0).unwrap_or_default();
                if state.1 > 0 {
                    task.progress(format!(
                        "downloaded {} of {}",
                        megabytes(done),
                        megabytes(state.1)
                    ));
                }
            }
            _ => {}
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// Work for a thread of its own.
struct Unpacking {
    store: Store,
    files: Vec<DebFile>,
    tree: TreeOptions,
    layer: LayerOptions,
    packages: PackagesBuild,
}

impl Unpacking {
    fn run(self) -> Result<StoredLayer, BuildError> {
        let failed = |failure: PackagesFailure| {
            BuildError::from(PackagesError::new(&self.packages, failure))
        };
        let cache = Cache::open(self.store.debian()).map_err(|error| failed(error.into()))?;
        let tree =
            Tree::build(&self.files, &self.tree, &cache).map_err(|error| failed(error.into()))?;
        write_layer(&self.store, "packages", self.layer, |writer| {
            tree.write_layer(writer)
        })
    }
}

/// A lock file without packages that answers what is wanted of this machine's.
#[cfg(test)]
pub(super) fn empty_lock(wanted: &PackagesBuild) -> String {
    let request = request(wanted, &super::target::host_platform()).expect("it is known");
    let lock = Lock {
        request: request.digest(),
        architecture: request.architecture.clone(),
        suites: Vec::new(),
        left_out: Vec::new(),
        packages: Vec::new(),
    };
    let locks = [(request.architecture, lock)].into();
    LockFile { locks }.to_string()
}
