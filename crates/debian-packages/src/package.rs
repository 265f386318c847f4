//! A package as an index lists it.

use oci_image::Digest;

use crate::deb822::{self, InvalidParagraph};
use crate::relation::{
    Comparison, Group, InvalidRelation, Qualifier, Relation, parse_groups, parse_list,
};
use crate::version::{InvalidVersion, Version};

/// What the fields of a paragraph of `Packages` say, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) architecture: String,
    /// Name and version of the source package, where they differ from the package's.
    pub(crate) source: SourcePackage,
    /// Below the archive.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
    pub(crate) priority: Priority,
    /// Whether `name:any` means this package too.
    pub(crate) any_architecture: bool,
    /// Pre-Depends, then Depends.
    pub(crate) depends: Vec<Group>,
    pub(crate) provides: Vec<Relation>,
    /// Conflicts and Breaks: neither may be installed beside it.
    pub(crate) conflicts: Vec<Relation>,
    /// Which suite of the request lists it, counted from 0.
    pub(crate) origin: usize,
}

/// What a package was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePackage {
    /// E.g. `glibc` of `libc6`.
    pub name: String,
    /// Its version, which may differ from the package's.
    pub version: String,
}

/// How much a system needs a package; the first is needed most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Required,
    Important,
    Standard,
    Optional,
    Extra,
}

/// Fields of `Packages` that [`parse`] reads.
pub(crate) const FIELDS: [&str; 14] = [
    "Package",
    "Version",
    "Architecture",
    "Source",
    "Filename",
    "Size",
    "SHA256",
    "Priority",
    "Multi-Arch",
    "Pre-Depends",
    "Depends",
    "Provides",
    "Conflicts",
    "Breaks",
];

/// Why a paragraph of an index is not a package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPackage {
    /// It is no paragraph.
    #[error(transparent)]
    Paragraph(#[from] InvalidParagraph),
    /// A field is missing or is no number or hash.
    #[error("the field `{0}` is missing or malformed")]
    Field(&'static str),
    /// The version is none.
    #[error(transparent)]
    Version(#[from] InvalidVersion),
    /// A relation is none.
    #[error(transparent)]
    Relation(#[from] InvalidRelation),
}

/// Reads one paragraph.
pub(crate) fn parse(paragraph: &str, origin: usize) -> Result<Package, InvalidPackage> {
    let fields = deb822::fields(paragraph)?;
    let value = |name: &'static str| deb822::value(&fields, name);
    let required = |name: &'static str| value(name).ok_or(InvalidPackage::Field(name));
    let list = |name: &'static str| parse_list(value(name).unwrap_or_default());
    let name = required("Package")?.to_owned();
    let version: Version = required("Version")?.parse()?;
    let mut depends = parse_groups(value("Pre-Depends").unwrap_or_default())?;
    depends.extend(parse_groups(value("Depends").unwrap_or_default())?);
    let mut conflicts = list("Conflicts")?;
    conflicts.extend(list("Breaks")?);
    let digest = format!("sha256:{}", required("SHA256")?);
    Ok(Package {
        source: source_package(value("Source"), &name, &version),
        architecture: required("Architecture")?.to_owned(),
        path: required("Filename")?.trim_start_matches("./").to_owned(),
        size: required("Size")?
            .parse()
            .map_err(|_| InvalidPackage::Field("Size"))?,
        digest: digest
            .parse()
            .map_err(|_| InvalidPackage::Field("SHA256"))?,
        priority: priority(value("Priority")),
        any_architecture: value("Multi-Arch") == Some("allowed"),
        provides: list("Provides")?,
        name,
        version,
        depends,
        conflicts,
        origin,
    })
}

/// `Source: gcc-12 (12.2.0-14)`, `Source: glibc`, or nothing.
pub(crate) fn source_package(field: Option<&str>, name: &str, version: &Version) -> SourcePackage {
    let own = |name: &str| SourcePackage {
        name: name.to_owned(),
        version: version.to_string(),
    };
    match field.map(|field| field.split_once('(')) {
        None => own(name),
        Some(None) => own(field.unwrap_or(name).trim()),
        Some(Some((name, version))) => SourcePackage {
            name: name.trim().to_owned(),
            version: version.trim().trim_end_matches(')').trim().to_owned(),
        },
    }
}

impl Package {
    /// Whether this package, by its name or by what it provides, is what the relation asks for.
    pub(crate) fn satisfies(&self, relation: &Relation) -> bool {
        self.is(relation) || self.provides(relation)
    }

    /// By its own name.
    pub(crate) fn is(&self, relation: &Relation) -> bool {
        self.name == relation.name
            && self.has_architecture(relation)
            && version_fits(relation, Some(&self.version))
    }

    /// By what it provides. Without a version it satisfies no relation that has one.
    pub(crate) fn provides(&self, relation: &Relation) -> bool {
        self.has_architecture(relation)
            && self.provides.iter().any(|provided| {
                let version = provided.version.as_ref().map(|(_, version)| version);
                provided.name == relation.name && version_fits(relation, version)
            })
    }

    /// Whether it says that it cannot stand beside `other`. It may conflict with
    /// a name that it provides itself: then it means everyone else.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        self.name != other.name
            && self
                .conflicts
                .iter()
                .any(|relation| other.satisfies(relation))
    }

    fn has_architecture(&self, relation: &Relation) -> bool {
        match &relation.qualifier {
            None => true,
            Some(Qualifier::Any) => self.any_architecture,
            Some(Qualifier::Architecture(name)) => {
                self.architecture == *name || self.architecture == "all"
            }
        }
    }
}

fn version_fits(relation: &Relation, version: Option<&Version>) -> bool {
    match (&relation.version, version) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((comparison, wanted)), Some(version)) => {
            Comparison::holds(*comparison, version, wanted)
        }
    }
}

fn priority(field: Option<&str>) -> Priority {
    match field {
        Some("required") => Priority::Required,
        Some("important") => Priority::Important,
        Some("standard") => Priority::Standard,
        Some("extra") => Priority::Extra,
        _ => Priority::Optional,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A paragraph with made-up file data around the given fields.
    pub(crate) fn paragraph(fields: &str) -> String {
        let name = fields
            .lines()
            .next()
            .unwrap()
            .trim_start_matches("Package: ");
        let architecture = match fields.contains("Architecture:") {
            true => "",
            false => "Architecture: amd64\n",
        };
        let digest = Digest::of(fields.as_bytes()).hex();
        format!("{fields}\n{architecture}Filename: pool/{name}.deb\nSize: 10\nSHA256: {digest}\n")
    }

    fn relation(text: &str) -> Relation {
        text.parse().unwrap()
    }

    #[test]
    fn a_paragraph_of_an_index() {
        let package = parse(
            &paragraph(
                "Package: libgcc-s1\nSource: gcc-12 (12.2.0-14)\nVersion: 12.2.0-14+deb12u1\nMulti-Arch: same\n\
                 Priority: optional\nPre-Depends: a\nDepends: b | c\nProvides: libgcc1 (= 1:12.2.0)\nBreaks: d (<< 2)",
            ),
            3,
        )
        .unwrap();
        assert_eq!(package.source.name, "gcc-12");
        assert_eq!(package.source.version, "12.2.0-14");
        assert_eq!(
            package
                .depends
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["a", "b | c"]
        );
        assert_eq!((package.origin, package.size), (3, 10));
        assert_eq!(package.path, "pool/libgcc-s1.deb");
        assert!(!package.any_architecture);
    }

    #[test]
    fn versioned_relations_need_versioned_provisions() {
        let package = parse(
            &paragraph("Package: p\nVersion: 2\nProvides: v (= 5), w\nMulti-Arch: allowed"),
            0,
        )
        .unwrap();
        for (text, expected) in [
            ("p", true),
            ("p (>= 2)", true),
            ("p (>> 2)", false),
            ("p:any", true),
            ("p:amd64", true),
            ("p:i386", false),
            ("v (>= 4)", true),
            ("v (>= 6)", false),
            ("w", true),
            ("w (>= 0)", false),
            ("q", false),
        ] {
            assert_eq!(package.satisfies(&relation(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_provider_that_conflicts_with_its_kind_means_the_others() {
        let agent = |name: &str| {
            let text = format!("Package: {name}\nVersion: 1\nProvides: agent\nConflicts: agent");
            parse(&paragraph(&text), 0).unwrap()
        };
        assert!(!agent("exim").excludes(&agent("exim")));
        assert!(agent("exim").excludes(&agent("postfix")));
    }

    #[test]
    fn what_is_no_package() {
        let good = paragraph("Package: p\nVersion: 1");
        assert!(parse(&good, 0).is_ok());
        for (from, to) in [
            ("Size: 10", "Size: x"),
            ("SHA256: ", "SHA256: zz"),
            ("Version: 1", "Version: -"),
            ("Filename", "Elsewhere"),
        ] {
            assert!(parse(&good.replace(from, to), 0).is_err(), "{to}");
        }
    }
}
