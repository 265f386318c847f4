//! SPDX 2.3 in JSON: the part of the format that is written here (`spdx-schema.json`, chapters 6 to 11).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// What the specification writes for "not looked into".
pub(crate) const NO_ASSERTION: &str = "NOASSERTION";
/// The document itself, in relationships.
pub(crate) const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// A whole document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub spdx_version: &'static str,
    pub data_license: &'static str,
    #[serde(rename = "SPDXID")]
    pub id: &'static str,
    pub name: String,
    pub document_namespace: String,
    pub creation_info: CreationInfo,
    pub packages: Vec<Package>,
    pub relationships: BTreeSet<Relationship>,
}

/// When and by what.
#[derive(Debug, Serialize)]
pub(crate) struct CreationInfo {
    pub created: String,
    pub creators: Vec<String>,
}

/// A package in the wide sense of SPDX: an image, a library, one file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Package {
    #[serde(rename = "SPDXID")]
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    pub primary_package_purpose: Purpose,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_file_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplier: Option<&'static str>,
    pub download_location: String,
    pub files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_info: Option<String>,
    pub license_concluded: &'static str,
    pub license_declared: String,
    pub copyright_text: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalRef>,
}

/// What a package is for.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Purpose {
    Application,
    Container,
    File,
    Library,
}

/// A digest in hexadecimal digits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

/// A name of a package elsewhere.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

/// `id` has this relation to `related`. Sorted, and each once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Relationship {
    #[serde(rename = "spdxElementId")]
    pub id: String,
    #[serde(rename = "relationshipType")]
    pub relation: Relation,
    #[serde(rename = "relatedSpdxElement")]
    pub related: String,
}

/// Relations that occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Relation {
    Contains,
    DependsOn,
    DescendantOf,
    Describes,
}

/// Identifiers that are unique in one document, and the same whenever the same things are asked in the same order.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    taken: BTreeMap<String, u32>,
}

impl Package {
    /// One of which only this is known.
    pub(crate) fn new(id: String, name: &str, purpose: Purpose) -> Self {
        Self {
            id,
            name: name.to_owned(),
            version_info: None,
            primary_package_purpose: purpose,
            package_file_name: None,
            supplier: None,
            download_location: NO_ASSERTION.to_owned(),
            files_analyzed: false,
            checksums: Vec::new(),
            source_info: None,
            license_concluded: NO_ASSERTION,
            license_declared: NO_ASSERTION.to_owned(),
            copyright_text: NO_ASSERTION,
            external_refs: Vec::new(),
        }
    }
}

impl Checksum {
    /// From 64 hexadecimal digits; anything else is none.
    pub(crate) fn sha256(hex: &str) -> Option<Self> {
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self {
            algorithm: "SHA256",
            checksum_value: hex.to_ascii_lowercase(),
        })
    }
}

impl ExternalRef {
    /// A package URL.
    pub(crate) fn purl(locator: String) -> Self {
        Self {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: locator,
        }
    }
}

impl Ids {
    /// `SPDXRef-` and letters, digits, `.` and `-`, which is all that is allowed.
    pub(crate) fn id(&mut self, kind: &str, parts: &[&str]) -> String {
        let mut id = format!("SPDXRef-{kind}");
        for part in parts {
            id.push('-');
            let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
            id.extend(part.chars().map(|c| if safe(c) { c } else { '-' }));
        }
        loop {
            let count = self.taken.entry(id.clone()).or_default();
            *count += 1;
            if *count == 1 {
                return id;
            }
            // The number is no end of its own: `a-2` may be a name, too.
            id = format!("{id}-{count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_unique_and_of_allowed_characters() {
        let mut ids = Ids::default();
        let found = [
            ids.id("Cargo", &["a_b", "1.0.0+x"]),
            ids.id("Cargo", &["a-b", "1.0.0-x"]),
            ids.id("Cargo", &["a-b", "1.0.0-x-2"]),
            ids.id("File", &["/etc/ä b"]),
        ];
        assert_eq!(
            found,
            [
                "SPDXRef-Cargo-a-b-1.0.0-x",
                "SPDXRef-Cargo-a-b-1.0.0-x-2",
                "SPDXRef-Cargo-a-b-1.0.0-x-2-2",
                "SPDXRef-File--etc---b",
            ]
        );
    }

    #[test]
    fn what_is_no_checksum_is_left_out() {
        assert!(Checksum::sha256("abc").is_none());
        assert!(Checksum::sha256(&"g".repeat(64)).is_none());
        assert_eq!(
            Checksum::sha256(&"A".repeat(64)).unwrap().checksum_value,
            "a".repeat(64)
        );
    }
}
