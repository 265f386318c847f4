//! What is in an image and how it was made: the facts for the documents that go with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use debian_packages::{Lock, LockedPackage};
use oci_image::{
    Decompressor, Descriptor, Digest, DigestWriter, Index, LayerLimits, Layout, LayoutError,
    Platform, StoredImage,
};

use crate::attest::{
    self, AddedFile, CargoPackage, CargoSource, Contents, DebianPackage, FileKind, LOCAL_BUILDER,
    Origin, Parameters, Provenance, Toolchain,
};
use crate::stack::{Build, CargoBuild, NativeBuild, PackagesBuild, Stack};

use super::build_error::BuildError;
use super::closure::compiled_with;
use super::files::read_error;
use super::input_error::InputError;
use super::lockfile::{Locked, Lockfile, plain};
use super::manifests::{self, Workspace};
use super::packages;
use super::spec::ImageSpec;
use super::store::Store;
use super::target::Target;

const CARGO_LOCK: &str = "Cargo.lock";
/// Scanners know releases of Debian by their number.
const RELEASES: [(&str, &str); 6] = [
    ("buster", "debian-10"),
    ("bullseye", "debian-11"),
    ("bookworm", "debian-12"),
    ("trixie", "debian-13"),
    ("forky", "debian-14"),
    ("duke", "debian-15"),
];

/// The images that `image` stands for: itself, or those of an index.
pub fn platforms(store: &Store, image: &Descriptor) -> Result<Vec<StoredImage>, LayoutError> {
    let layout = store.layout();
    if !image.is_index() {
        return Ok(vec![layout.manifest(image)?]);
    }
    let document = layout.read(image)?;
    let index: Index =
        serde_json::from_slice(&document).map_err(|source| LayoutError::Document {
            blob: Box::new(image.clone()),
            expected: "index",
            source,
        })?;
    index
        .manifests
        .iter()
        .map(|manifest| layout.manifest(manifest))
        .collect()
}

/// What was put into `image`, which is that of `spec`; `None` where a Dockerfile or a program made it, since nobody
/// here knows.
pub fn contents(
    stack: &Stack,
    spec: &ImageSpec,
    store: &Store,
    image: &StoredImage,
) -> Result<Option<Contents>, BuildError> {
    let Build::Native(build) = &spec.build else {
        return Ok(None);
    };
    let mut contents = Contents {
        base: build.base.as_ref().map(base),
        files: added_files(spec, build, store.layout(), image)?,
        ..Contents::default()
    };
    if let Some(cargo) = &build.cargo {
        add_cargo(&mut contents, &stack.root, spec, cargo)?;
    }
    if let Some(wanted) = &build.packages {
        let locks = packages::read_lock(&stack.root, wanted)?;
        let lock = packages::lock_for(&locks, wanted, &image.config.platform)?;
        contents.distribution = lock.distribution().map(release);
        contents.debian = lock
            .packages()
            .iter()
            .map(|package| debian(lock, package))
            .collect();
    }
    Ok(Some(contents))
}

/// How the image of `spec` for `platform` was made.
pub fn provenance(
    stack: &Stack,
    spec: &ImageSpec,
    platform: &Platform,
    origin: &Origin,
) -> Result<Provenance, BuildError> {
    let native = match &spec.build {
        Build::Native(build) => Some(build.as_ref()),
        _ => None,
    };
    let cargo = native.and_then(|build| build.cargo.as_ref());
    let packages = native.and_then(|build| build.packages.as_ref());
    Ok(Provenance {
        parameters: parameters(spec, native, cargo),
        inputs: spec.inputs.digest().to_string(),
        toolchain: cargo.and_then(|_| toolchain(spec, platform)),
        cargo_lock: match cargo {
            Some(_) => Some(digest(&stack.root, Path::new(CARGO_LOCK))?),
            None => None,
        },
        packages_lock: match packages {
            Some(PackagesBuild { lock, .. }) => {
                let digest = digest(&stack.root, lock)?;
                Some((lock.to_string_lossy().into_owned(), digest))
            }
            None => None,
        },
        base: native.and_then(|build| build.base.as_ref()).map(base),
        origin: origin.clone(),
        builder: LOCAL_BUILDER.to_owned(),
        invocation: None,
    })
}

/// Names only: build arguments and variables may be secret.
fn parameters(
    spec: &ImageSpec,
    native: Option<&NativeBuild>,
    cargo: Option<&CargoBuild>,
) -> Parameters {
    let kind = match (&spec.build, native) {
        (_, Some(build)) if build.cargo.is_some() => "cargo",
        (_, Some(build)) if build.packages.is_some() => "packages",
        (_, Some(_)) => "files",
        (Build::Command(_), _) => "command",
        _ => "dockerfile",
    };
    let mut parameters = Parameters {
        service: spec.service.to_string(),
        build: kind.to_owned(),
        ..Parameters::default()
    };
    if let Some(cargo) = cargo {
        let binaries: BTreeSet<&str> = cargo.all_bins().collect();
        let features: BTreeSet<&String> = cargo.features.iter().collect();
        parameters.package = Some(cargo.package.clone());
        parameters.binaries = binaries.into_iter().map(str::to_owned).collect();
        parameters.profile = Some(cargo.profile.clone());
        parameters.features = features.into_iter().cloned().collect();
    }
    parameters
}

fn toolchain(spec: &ImageSpec, platform: &Platform) -> Option<Toolchain> {
    let compiler = spec.inputs.fingerprint("cargo compiler")?;
    Some(Toolchain {
        rustc: compiler.lines().next()?.to_owned(),
        target: Target::of(platform)?.triple.to_owned(),
    })
}

fn digest(root: &Path, file: &Path) -> Result<Digest, InputError> {
    let content = fs::read(root.join(file)).map_err(|source| read_error(file, source))?;
    Ok(Digest::of(&content))
}

fn base(base: &crate::stack::Base) -> attest::Base {
    attest::Base {
        name: format!(
            "{}/{}",
            base.reference.registry(),
            base.reference.repository()
        ),
        digest: base.digest,
    }
}

/// What of the lock file is really compiled: features and targets leave some of it out.
fn add_cargo(
    contents: &mut Contents,
    root: &Path,
    spec: &ImageSpec,
    build: &CargoBuild,
) -> Result<(), InputError> {
    let path = Path::new(CARGO_LOCK);
    let text = fs::read_to_string(root.join(path)).map_err(|source| read_error(path, source))?;
    let lock = Lockfile::parse(&text)
        .map_err(|error| manifests::syntax_error(path, text.clone(), &error))?;
    let start = lock
        .local(&build.package)
        .ok_or_else(|| InputError::NotLocked {
            package: build.package.clone(),
            span: build.span.clone(),
        })?;
    let mut workspace = Workspace::load(root, &build.span)?;
    let mut followed = BTreeMap::new();
    let closure = lock.closure(start, |package| {
        let names = compiled_with(&mut workspace, package, build)?;
        followed.insert(package.name.clone(), names.clone());
        Ok::<_, InputError>(names)
    })?;
    let is_compiled = |package: &&&Locked| {
        let name = format!("{} {}", package.name, package.version);
        spec.inputs.contains("features", &name)
    };
    for package in closure.values().filter(is_compiled) {
        // The dependencies of tests are in the lock file, too.
        let names = followed.get(&package.name).filter(|_| package.is_local());
        let dependencies = lock
            .dependencies(package)
            .filter(|next| names.is_none_or(|names| names.contains(&plain(&next.name))));
        let manifest = workspace
            .package(&package.name)
            .filter(|_| package.is_local());
        contents.cargo.push(CargoPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            source: CargoSource::parse(package.source()),
            checksum: package.checksum().map(str::to_owned),
            license: manifest
                .and_then(|manifest| workspace.field(manifest, "license"))
                .map(str::to_owned),
            dependencies: dependencies
                .map(|next| (next.name.clone(), next.version.clone()))
                .collect(),
        });
    }
    contents.roots = vec![(start.name.clone(), start.version.clone())];
    Ok(())
}

/// `bookworm` → `debian-12`
fn release(codename: &str) -> String {
    let known = RELEASES.iter().find(|(name, _)| *name == codename);
    known.map_or(codename, |(_, release)| release).to_owned()
}

fn debian(lock: &Lock, package: &LockedPackage) -> DebianPackage {
    let archive = lock.suites.get(package.suite);
    DebianPackage {
        name: package.name.clone(),
        version: package.version.to_string(),
        architecture: package.architecture.clone(),
        source: Some(package.source.name.clone()).filter(|source| *source != package.name),
        sha256: package.digest.hex(),
        url: archive.map(|suite| format!("{}/{}", suite.uri.trim_end_matches('/'), package.path)),
    }
}

/// The files of the two upper layers, which hold what no package brings: read off the layers, so that it is what is
/// really there.
fn added_files(
    spec: &ImageSpec,
    build: &NativeBuild,
    layout: &Layout,
    image: &StoredImage,
) -> Result<Vec<AddedFile>, BuildError> {
    let kinds = [
        (build.cargo.is_some(), FileKind::Binary),
        (!build.beside_packages().is_empty(), FileKind::Asset),
    ];
    let kinds = kinds.iter().filter(|(is_there, _)| *is_there);
    let mut found = BTreeMap::new();
    for ((_, kind), layer) in kinds.zip(image.manifest.layers.iter().rev()) {
        let files = read_layer(layout, layer).map_err(|source| BuildError::File {
            action: format!("read the image of {}", spec.service),
            source,
        })?;
        for (path, digest) in files {
            // What lies above hides what has its path below.
            found.entry(path.clone()).or_insert(AddedFile {
                path,
                digest,
                kind: *kind,
            });
        }
    }
    Ok(found.into_values().collect())
}

/// The regular files of a layer that was made here, by their absolute paths.
fn read_layer(layout: &Layout, layer: &Descriptor) -> io::Result<Vec<(String, Digest)>> {
    let blob = layout.reader(layer).map_err(io::Error::other)?;
    let content = Decompressor::new(blob, LayerLimits::default().content)?;
    let mut archive = tar::Archive::new(content);
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = format!("/{}", entry.path()?.display());
        let mut digest = DigestWriter::new(io::sink());
        io::copy(&mut entry, &mut digest)?;
        files.push((path, digest.finish().1));
    }
    // Only at its end is the blob known to be what its digest says.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(files)
}
