//! Which image of an index runs on a platform.

use crate::{Descriptor, Index, Platform};

/// What ARM processors run, newest first; each runs those after it.
const ARM_VARIANTS: [&str; 4] = ["v8", "v7", "v6", "v5"];

/// The image of `index` for `platform`: the same variant first, then one that also runs there. Where an entry says
/// no platform and is the only one, it is taken.
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

/// 0 for the variant that was asked for, more for older ones; `None` where it does not run.
fn rank(offered: &Platform, wanted: &Platform) -> Option<usize> {
    if offered.os != wanted.os || offered.architecture != wanted.architecture {
        return None;
    }
    let (offered, wanted) = (variant(offered), variant(wanted));
    if offered == wanted {
        return Some(0);
    }
    let place = |variant: &str| ARM_VARIANTS.iter().position(|known| *known == variant);
    // arm64 and amd64 have variants that need a newer processor; there only the very one fits.
    match (place(wanted), place(offered)) {
        (Some(wanted), Some(offered)) => offered.checked_sub(wanted),
        _ => None,
    }
}

/// The variant, or the one that is meant where none is written (containerd's rule).
fn variant(platform: &Platform) -> &str {
    match (&platform.variant, platform.architecture.as_str()) {
        (Some(variant), _) if !variant.is_empty() => variant,
        (_, "arm64") => "v8",
        (_, "arm") => "v7",
        (_, "amd64") => "v1",
        _ => "",
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
            Some("linux/arm/v6"),
            Some("linux/arm64"),
            Some("linux/amd64/v3"),
            Some("linux/amd64"),
            None,
        ];
        for (offered, wanted, found) in [
            (many, "linux/amd64", Some(5)),
            (many, "linux/amd64/v3", Some(4)),
            (many, "linux/arm64", Some(3)),
            (many, "linux/arm64/v8", Some(3)),
            (many, "linux/arm/v7", Some(2)),
            (many, "linux/arm/v5", Some(1)),
            (many, "linux/s390x", None),
            (many, "windows/amd64", None),
            (&[None], "linux/amd64", Some(0)),
            (&[Some("linux/arm64")], "linux/amd64", None),
            (&[Some("linux/amd64/v3")], "linux/amd64", None),
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
