//! The bill of materials of an image, as SPDX 2.3. Pure.
//!
//! Added files are packages with the purpose `FILE`: entries under `files` must have a SHA-1, and nothing else of
//! ours wants one.

use std::collections::{BTreeMap, BTreeSet};

use super::Document;
use super::contents::{AddedFile, CargoPackage, CargoSource, Contents, DebianPackage, FileKind};
use super::git::public_url;
use super::origin::rfc3339;
use super::purl;
use super::spdx::{
    self, Checksum, CreationInfo, ExternalRef, Ids, NO_ASSERTION, Package, Purpose, Relation,
    Relationship,
};
use super::subject::Subject;

/// What in-toto calls such a document.
const PREDICATE_TYPE: &str = "https://spdx.dev/Document";
/// As registered.
const MEDIA_TYPE: &str = "application/spdx+json";

/// What is in `subject`; `created` in seconds since 1970. The order in `contents` does not count.
#[must_use]
pub fn sbom(subject: &Subject, contents: &Contents, created: u64) -> Document {
    let mut bill = Bill::new(subject);
    bill.base(contents);
    bill.cargo(contents);
    bill.debian(contents);
    bill.files(contents);
    let document = spdx::Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: spdx::DOCUMENT,
        name: subject.name.clone(),
        document_namespace: format!(
            "https://stackctl.dev/spdx/{}/sha256-{}",
            subject.short_name(),
            subject.manifest.digest.hex()
        ),
        creation_info: CreationInfo {
            created: rfc3339(created),
            creators: vec![format!("Tool: stackctl-{}", env!("CARGO_PKG_VERSION"))],
        },
        packages: bill.packages,
        relationships: bill.relationships,
    };
    Document {
        predicate_type: PREDICATE_TYPE,
        media_type: MEDIA_TYPE,
        content: serde_json::to_vec(&document).expect("texts and lists"),
    }
}

/// A document that is being filled.
struct Bill {
    ids: Ids,
    image: String,
    packages: Vec<Package>,
    relationships: BTreeSet<Relationship>,
}

impl Bill {
    fn new(subject: &Subject) -> Self {
        let mut ids = Ids::default();
        let image = ids.id("Image", &[subject.short_name()]);
        let mut package = Package::new(image.clone(), &subject.name, Purpose::Container);
        package.version_info = Some(subject.manifest.digest.to_string());
        package.checksums = Checksum::sha256(&subject.manifest.digest.hex())
            .into_iter()
            .collect();
        package.external_refs = vec![ExternalRef::purl(purl::image(subject))];
        let mut bill = Self {
            ids,
            image: image.clone(),
            packages: vec![package],
            relationships: BTreeSet::new(),
        };
        bill.relate(spdx::DOCUMENT, Relation::Describes, &image);
        bill
    }

    fn relate(&mut self, id: &str, relation: Relation, related: &str) {
        self.relationships.insert(Relationship {
            id: id.to_owned(),
            relation,
            related: related.to_owned(),
        });
    }

    /// Adds what lies in the image itself.
    fn contain(&mut self, package: Package) {
        let image = self.image.clone();
        self.relate(&image, Relation::Contains, &package.id);
        self.packages.push(package);
    }

    fn base(&mut self, contents: &Contents) {
        let Some(base) = &contents.base else { return };
        let id = self.ids.id("Base", &[&base.name]);
        let mut package = Package::new(id.clone(), &base.name, Purpose::Container);
        package.version_info = Some(base.digest.to_string());
        package.checksums = Checksum::sha256(&base.digest.hex()).into_iter().collect();
        self.packages.push(package);
        let image = self.image.clone();
        self.relate(&image, Relation::DescendantOf, &id);
    }

    fn cargo(&mut self, contents: &Contents) {
        let mut sorted: Vec<&CargoPackage> = contents.cargo.iter().collect();
        sorted.sort_by_key(|package| (&package.name, &package.version, &package.source));
        sorted.dedup_by_key(|package| (&package.name, &package.version, &package.source));
        let mut ids: BTreeMap<(&str, &str), String> = BTreeMap::new();
        let mut own = Vec::new();
        for package in &sorted {
            let id = self.ids.id("Cargo", &[&package.name, &package.version]);
            own.push(id.clone());
            ids.entry((&package.name, &package.version)).or_insert(id);
        }
        for (package, id) in sorted.iter().zip(own) {
            for (name, version) in &package.dependencies {
                if let Some(dependency) = ids.get(&(name.as_str(), version.as_str())) {
                    self.relate(&id, Relation::DependsOn, dependency);
                }
            }
            let purpose = match is_root(contents, package) {
                true => Purpose::Application,
                false => Purpose::Library,
            };
            let described = cargo_package(package, id, purpose);
            match purpose {
                Purpose::Application => self.contain(described),
                _ => self.packages.push(described),
            }
        }
    }

    fn debian(&mut self, contents: &Contents) {
        let mut sorted: Vec<&DebianPackage> = contents.debian.iter().collect();
        sorted.sort_by_key(|package| (&package.name, &package.architecture, &package.version));
        for package in sorted {
            let id = self.ids.id(
                "Debian",
                &[&package.name, &package.version, &package.architecture],
            );
            let distribution = contents.distribution.as_deref();
            self.contain(debian_package(package, id, distribution));
        }
    }

    fn files(&mut self, contents: &Contents) {
        let mut sorted: Vec<&AddedFile> = contents.files.iter().collect();
        sorted.sort_by_key(|file| &file.path);
        for file in sorted {
            let path = file.path.trim_start_matches('/');
            let id = self.ids.id("File", &[path]);
            let purpose = match file.kind {
                FileKind::Binary => Purpose::Application,
                FileKind::Asset => Purpose::File,
            };
            let mut package = Package::new(id, &format!("/{path}"), purpose);
            package.package_file_name = Some(format!("./{path}"));
            package.checksums = Checksum::sha256(&file.digest.hex()).into_iter().collect();
            self.contain(package);
        }
    }
}

fn is_root(contents: &Contents, package: &CargoPackage) -> bool {
    contents
        .roots
        .iter()
        .any(|(name, version)| *name == package.name && *version == package.version)
}

fn cargo_package(package: &CargoPackage, id: String, purpose: Purpose) -> Package {
    let CargoPackage { name, version, .. } = package;
    let mut described = Package::new(id, name, purpose);
    described.version_info = Some(version.clone());
    described.download_location = match &package.source {
        CargoSource::Registry(_) if package.source.is_crates_io() => {
            format!("https://static.crates.io/crates/{name}/{name}-{version}.crate")
        }
        CargoSource::Git(url) => purl::git_location(url).unwrap_or(NO_ASSERTION.to_owned()),
        CargoSource::Registry(_) | CargoSource::Path => NO_ASSERTION.to_owned(),
    };
    described.source_info = match &package.source {
        CargoSource::Path => Some("a package of this repository".to_owned()),
        CargoSource::Registry(index) if !package.source.is_crates_io() => {
            public_url(index).map(|index| format!("from the registry {index}"))
        }
        CargoSource::Registry(_) | CargoSource::Git(_) => None,
    };
    described.checksums = package
        .checksum
        .as_deref()
        .and_then(Checksum::sha256)
        .into_iter()
        .collect();
    if let Some(license) = package.license.as_deref().and_then(license) {
        described.license_declared = license;
    }
    described.external_refs = vec![ExternalRef::purl(purl::cargo(package))];
    described
}

fn debian_package(package: &DebianPackage, id: String, distribution: Option<&str>) -> Package {
    let mut described = Package::new(id, &package.name, Purpose::Library);
    described.version_info = Some(package.version.clone());
    described.supplier = Some("Organization: Debian");
    if let Some(url) = package.url.as_deref().and_then(public_url) {
        described.download_location = url;
    }
    described.source_info = package
        .source
        .as_ref()
        .map(|source| format!("built from the source package {source}"));
    described.checksums = Checksum::sha256(&package.sha256).into_iter().collect();
    described.external_refs = vec![ExternalRef::purl(purl::debian(package, distribution))];
    described
}

/// An expression as SPDX writes it; cargo also takes `MIT/Apache-2.0`. `None` for what cannot be one.
fn license(text: &str) -> Option<String> {
    let text = text
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut depth = 0_i32;
    let mut wants_name = true;
    for word in text.split_whitespace() {
        let is_name = word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'));
        match (word, wants_name) {
            ("(", true) => depth += 1,
            (")", false) if depth > 0 => depth -= 1,
            ("AND" | "OR" | "WITH", false) => wants_name = true,
            ("AND" | "OR" | "WITH" | "(" | ")", _) => return None,
            (_, true) if is_name => wants_name = false,
            _ => return None,
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    (!wants_name && depth == 0).then(|| words.join(" ").replace("( ", "(").replace(" )", ")"))
}

#[cfg(test)]
mod tests;
