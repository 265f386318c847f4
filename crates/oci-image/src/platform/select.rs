//! Which image of an index runs on a platform.

use super::Platform;
use crate::{Descriptor, Index};

/// The image of `index` for `platform`: the very same first, then one with the same variant under another name, then
/// any that runs there. Where an entry says no platform and is the only one, it is taken.
#[must_use]
pub fn select_platform<'a>(index: &'a Index, platform: &Platform) -> Option<&'a Descriptor> {
    let best = index
        .manifests
        .iter()
        .filter_map(|entry| {
            let rank = rank(entry.platform.as_ref()?, platform)?;
            Some((rank, entry))
        })
        .min_by_key(|(rank, _)| *rank);
    match (best, &index.manifests[..]) {
        (Some((_, entry)), _) => Some(entry),
        (None, [only]) if only.platform.is_none() => Some(only),
        _ => None,
    }
}

/// The smaller, the better; `None` where it does not run.
fn rank(offered: &Platform, wanted: &Platform) -> Option<u8> {
    match (offered.runs_on(wanted), wanted.runs_on(offered)) {
        (true, _) if offered == wanted => Some(0),
        (true, true) => Some(1),
        (true, false) => Some(2),
        (false, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type;

    fn index(platforms: &[Option<&str>]) -> Index {
        let entry = |(number, platform): (usize, &Option<&str>)| {
            let mut entry = Descriptor::of(media_type::MANIFEST, number.to_string().as_bytes());
            entry.platform = platform.map(|text| text.parse().unwrap());
            entry
        };
        Index::new(platforms.iter().enumerate().map(entry).collect())
    }

    #[test]
    fn the_entry_that_runs_best_is_taken() {
        let many: &[Option<&str>] = &[
            Some("unknown/unknown"),
            Some("linux/arm/v5"),
            Some("linux/arm/v7"),
            Some("linux/arm64"),
            Some("linux/amd64/v3"),
            Some("linux/amd64/v1"),
            None,
        ];
        for (offered, wanted, found) in [
            (many, "linux/amd64", Some(5)),
            (many, "linux/amd64/v3", Some(4)),
            (many, "linux/arm64", Some(3)),
            (many, "linux/arm64/v8", Some(3)),
            (many, "linux/arm", Some(2)),
            (many, "linux/arm/v5", Some(1)),
            (many, "linux/arm/v6", None),
            (many, "linux/s390x", None),
            (many, "windows/amd64", None),
            (&[None], "linux/amd64", Some(0)),
            (&[Some("linux/arm64")], "linux/amd64", None),
            (&[None, None], "linux/amd64", None),
            (&[], "linux/amd64", None),
        ] {
            let index = index(offered);
            let expected = found.map(|number: usize| &index.manifests[number]);
            let platform: Platform = wanted.parse().unwrap();
            assert_eq!(select_platform(&index, &platform), expected, "{wanted}");
        }
    }
}
