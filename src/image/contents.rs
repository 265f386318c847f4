//! What is in an image and how it was made: the facts for the documents that go with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use debian_packages::{Lock, LockedPackage};
use oci_image::{
    Decompressor, Descriptor, Digest, DigestWriter, LayerLimits, Layout, Platform, StoredImage,
};

use crate::attest::{
    self, AddedFile, CargoPackage, CargoSource, Contents, DebianPackage, FileKind, LOCAL_BUILDER,
    Origin, Parameters, Provenance, Toolchain,
};
use crate::stack::{Build, CargoBuild, NativeBuild, PackagesBuild, Stack};

use super::build_error::BuildError;
use super::cargo_config::CargoConfig;
use super::closure::compiled_with;
use super::environment::Environment;
use super::files::read_error;
use super::input_error::InputError;
use super::lockfile::{CARGO_LOCK, Locked, Lockfile, plain};
use super::packages;
use super::spec::ImageSpec;
use super::store::Store;
use super::target::Target;
use super::workspace::Workspace;

/// Scanners know releases of Debian by their number.
const RELEASES: [(&str, &str); 6] = [
    ("buster", "debian-10"),
    ("bullseye", "debian-11"),
    ("bookworm", "debian-12"),
    ("trixie", "debian-13"),
    ("forky", "debian-14"),
    ("duke", "debian-15"),
];

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
        files: added_files(build, store.layout(), image)?,
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
    let lock = Lockfile::parse(&text)?;
    let start = lock
        .local(&build.package)
        .ok_or_else(|| InputError::NotLocked {
            package: build.package.clone(),
            span: build.span.clone(),
        })?;
    let absolute = fs::canonicalize(root).map_err(|source| read_error(root, source))?;
    let cargo_home = Environment::of_process().cargo_home();
    let config = CargoConfig::load(&absolute, cargo_home.as_deref())?;
    let mut workspace = Workspace::load(&absolute, &config, &build.span)?;
    let mut followed = BTreeMap::new();
    let closure = lock.closure(start, |package| {
        let names = compiled_with(&mut workspace, package, build)?;
        followed.insert(package.name.clone(), names.clone());
        Ok::<_, InputError>(names)
    })?;
    let is_compiled = |package: &&&Locked| spec.inputs.contains("features", &lock.name_of(package));
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
                .and_then(|manifest| manifest.field("license"))
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
        let files = read_layer(layout, layer).map_err(|error| layout.read_error(layer, error))?;
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

#[cfg(test)]
mod tests {
    use oci_image::Compression;

    use super::super::assemble::{self, Below, Binary, LayerOptions, Parts};
    use super::super::cache_key::Inputs;
    use super::super::files::Files;
    use super::super::files_layer::{self, Copies};
    use super::super::target::host_platform;
    use super::super::test_stack::{cargo, dockerfile, span, stack, workspace, write};
    use super::super::walk::{Found, Links};
    use super::*;
    use crate::attest::Revision;
    use crate::stack::Copied;

    /// A workspace, the spec of its service `a`, and the image of that in a store.
    struct Scene {
        stack: Stack,
        spec: ImageSpec,
        store: Store,
        image: StoredImage,
        _folders: [tempfile::TempDir; 2],
    }

    impl Scene {
        fn new() -> Self {
            let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            workspace(root.path());
            let manifest = root.path().join("services/a/Cargo.toml");
            let text = fs::read_to_string(&manifest).unwrap();
            let inherits = "edition = \"2024\"\nlicense.workspace = true\n";
            fs::write(&manifest, text.replace("edition = \"2024\"\n", inherits)).unwrap();
            write(root.path(), &[("conf", "key"), ("shadow", "hidden")]);
            let Build::Native(mut build) = cargo("a") else {
                panic!("it is");
            };
            for (from, to) in [("conf", "/etc/conf"), ("shadow", "/a")] {
                let copied = Copied {
                    to: to.to_owned(),
                    span: span(),
                };
                build.files.copies.insert(from.into(), copied);
            }
            let mut inputs = Inputs::default();
            // `insta` is for tests alone, and `rand` is another service's.
            for package in ["a 0.1.0", "kit 0.1.0", "serde 1.0.0"] {
                inputs.add("features", package, "");
            }
            inputs.add(
                "cargo",
                "compiler",
                "rustc 1.95.0 (5980 2026-04-14)\nhost: x\n",
            );
            let mut files = Files::new(root.path());
            for (from, copied) in &build.files.copies {
                let found = files.named(from, Links::Kept, "the file", &copied.span);
                for Found { path, .. } in found.unwrap() {
                    files.digest([&path]).unwrap();
                    inputs.add("file", &path.to_string_lossy(), files.fingerprint(&path));
                }
            }
            let spec = ImageSpec {
                service: "a".parse().unwrap(),
                reference: "shop/a:1".to_owned(),
                build: Build::Native(build.clone()),
                inputs,
                selection: Vec::new(),
                labels: BTreeMap::new(),
            };
            let store = Store::at(cache.path()).unwrap();
            let image = assembled(&store, root.path(), &spec, *build);
            Self {
                stack: stack(root.path(), &[("a", spec.build.clone())]),
                spec,
                store,
                image,
                _folders: [root, cache],
            }
        }

        fn provenance(&self) -> Provenance {
            let origin = Origin {
                created: 7,
                revision: None::<Revision>,
            };
            provenance(&self.stack, &self.spec, &host_platform(), &origin).unwrap()
        }
    }

    fn assembled(store: &Store, root: &Path, spec: &ImageSpec, build: NativeBuild) -> StoredImage {
        let options = LayerOptions {
            created: 0,
            compression: Compression::Zstd,
        };
        let copies = Copies {
            root,
            spec,
            build: &build.files,
            options,
        };
        let files = files_layer::layer(store, &copies).unwrap();
        let parts = Parts {
            spec: spec.clone(),
            build,
            platform: host_platform(),
            below: Below {
                base: None,
                packages: None,
                files,
            },
            binaries: vec![Binary {
                name: "a".to_owned(),
                content: b"abc".to_vec(),
            }],
            options,
        };
        let image = assemble::image(store, parts).unwrap();
        store.layout().images(&image).unwrap().remove(0)
    }

    #[test]
    fn what_is_compiled_and_what_is_added_is_in_an_image() {
        let scene = Scene::new();
        let found = contents(&scene.stack, &scene.spec, &scene.store, &scene.image);
        let found = found.unwrap().unwrap();
        let package = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let packages: Vec<_> = found
            .cargo
            .iter()
            .map(|found| {
                (
                    &found.name[..],
                    found.license.as_deref(),
                    found.checksum.as_deref(),
                )
            })
            .collect();
        let expected = [
            ("a", Some("MIT"), None),
            ("kit", None, None),
            ("serde", None, Some("s1")),
        ];
        assert_eq!(packages, expected);
        let needs = [package("kit", "0.1.0"), package("serde", "1.0.0")];
        assert_eq!(
            found.cargo[0].dependencies, needs,
            "not what only tests need"
        );
        assert_eq!(found.roots, [package("a", "0.1.0")]);
        let file = |path: &str, content: &[u8], kind| AddedFile {
            path: path.to_owned(),
            digest: Digest::of(content),
            kind,
        };
        let files = [
            file("/a", b"abc", FileKind::Binary),
            file("/etc/conf", b"key", FileKind::Asset),
        ];
        assert_eq!(found.files, files, "the binary hides the file of its name");
        assert_eq!((found.base, found.debian.len()), (None, 0));
    }

    #[test]
    fn provenance_names_what_was_asked_for_and_what_it_was_made_from() {
        let scene = Scene::new();
        let found = scene.provenance();
        assert_eq!(found.parameters.build, "cargo");
        assert_eq!(found.parameters.binaries, ["a"]);
        assert_eq!(found.parameters.profile.as_deref(), Some("release"));
        assert_eq!(found.inputs, scene.spec.inputs.digest().to_string());
        let lock = fs::read(scene.stack.root.join("Cargo.lock")).unwrap();
        assert_eq!(found.cargo_lock, Some(Digest::of(&lock)));
        let toolchain = found.toolchain.unwrap();
        assert_eq!(toolchain.rustc, "rustc 1.95.0 (5980 2026-04-14)");
        assert_eq!(found.origin.created, 7);
    }

    #[test]
    fn of_a_dockerfile_nothing_is_invented() {
        let mut scene = Scene::new();
        scene.spec.build = dockerfile("a/Dockerfile");
        let found = contents(&scene.stack, &scene.spec, &scene.store, &scene.image);
        assert_eq!(found.unwrap(), None);
        let provenance = scene.provenance();
        assert_eq!(provenance.parameters.build, "dockerfile");
        assert_eq!((provenance.toolchain, provenance.cargo_lock), (None, None));
    }

    #[test]
    fn releases_have_numbers() {
        assert_eq!(release("bookworm"), "debian-12");
        assert_eq!(release("sid"), "sid");
    }
}
