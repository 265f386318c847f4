//! Which images and blobs are no longer needed, and their removal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::index_file::IndexFile;
use super::{BLOBS, Layout, LayoutError, TEMPORARY};
use crate::{Descriptor, Digest};

/// What a garbage collection keeps. A name stays that any of the first two rules keeps; the third takes, for room,
/// from those that stayed; what was used within the grace period stays in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbagePolicy {
    /// Of every repository (the name before the last `:`) this many names, those that were used last.
    pub newest: usize,
    /// Names that were used within this time.
    pub used_within: Duration,
    /// The blobs are to take no more room than this, in bytes; names that were not used for longest go first.
    pub budget: Option<u64>,
    /// Blobs and temporary files younger than this may belong to somebody who is just writing, and stay.
    pub grace: Duration,
}

impl Default for GarbagePolicy {
    /// Three versions of everything and what was used in the last two weeks, in 20 GiB; an hour of grace.
    fn default() -> Self {
        Self {
            newest: 3,
            used_within: Duration::from_secs(14 * 24 * 3600),
            budget: Some(20 << 30),
            grace: Duration::from_secs(3600),
        }
    }
}

/// What a garbage collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageReport {
    /// Names that were taken away, in order.
    pub names: Vec<String>,
    /// Those of them whose image was incomplete or damaged.
    pub damaged: Vec<String>,
    /// Number of blobs removed.
    pub blobs: usize,
    /// Number of temporary files removed.
    pub temporary: usize,
    /// Bytes freed.
    pub freed: u64,
    /// Bytes that the blobs still take.
    pub kept: u64,
}

impl Layout {
    /// Takes away names the policy does not keep, and removes blobs that no name leads to.
    ///
    /// Others may read, write and name images meanwhile: names wait for the lock, and a name can only be given to an
    /// image whose blobs are all there.
    pub fn collect_garbage(&self, policy: &GarbagePolicy) -> Result<GarbageReport, LayoutError> {
        let _lock = self.lock()?;
        let now = SystemTime::now();
        let mut index = self.index()?;
        let mut report = GarbageReport::default();
        let mut images = self.named_images(&index, now, &mut report)?;
        let unnamed = self.unnamed(&index)?;
        let mut evicted = outdated(&images, policy);
        images.retain(|image| !evicted.contains(&image.name));
        evicted.extend(over_budget(&images, &unnamed, policy));
        images.retain(|image| !evicted.contains(&image.name));
        report.names.extend(evicted);
        report.names.sort();
        for name in &report.names {
            index.remove(name);
        }
        if !report.names.is_empty() {
            self.write_index(&index)?;
        }
        let named = images.iter().flat_map(|image| image.blobs.keys());
        let needed: BTreeSet<Digest> = named.chain(unnamed.keys()).copied().collect();
        let stale = |metadata: &Metadata| age(metadata, now) > policy.grace;
        self.sweep_blobs(&needed, stale, &mut report)?;
        self.sweep_temporary(stale, &mut report)?;
        Ok(report)
    }

    /// Removes temporary files that are older than `grace`, and nothing else; how many. Processes left them that were
    /// killed.
    pub fn remove_unfinished(&self, grace: Duration) -> Result<usize, LayoutError> {
        let now = SystemTime::now();
        let mut report = GarbageReport::default();
        self.sweep_temporary(|metadata| age(metadata, now) > grace, &mut report)?;
        Ok(report.temporary)
    }

    fn named_images(
        &self,
        index: &IndexFile,
        now: SystemTime,
        report: &mut GarbageReport,
    ) -> Result<Vec<Named>, LayoutError> {
        let mut images = Vec::new();
        for (name, descriptor) in index.names() {
            match self.complete_blobs_of(&descriptor) {
                Ok(blobs) => images.push(Named {
                    name,
                    unused: self.unused(&descriptor, now)?,
                    blobs: sizes(blobs),
                }),
                // A disk that cannot be read just now is no reason to forget a name.
                Err(error @ LayoutError::Io { .. }) => return Err(error),
                Err(_) => {
                    report.names.push(name.clone());
                    report.damaged.push(name);
                }
            }
        }
        Ok(images)
    }

    fn unused(&self, blob: &Descriptor, now: SystemTime) -> Result<Duration, LayoutError> {
        let path = self.blob_path(&blob.digest);
        let metadata = fs::metadata(&path).map_err(LayoutError::io("read", &path))?;
        Ok(age(&metadata, now))
    }

    /// What lies in the index without a name was put there by others on purpose. What cannot be read there could lead
    /// to anything, so nothing may be removed.
    fn unnamed(&self, index: &IndexFile) -> Result<BTreeMap<Digest, u64>, LayoutError> {
        let mut blobs = BTreeMap::new();
        for entry in index.unnamed() {
            blobs.extend(sizes(self.blobs_of(&entry)?));
        }
        Ok(blobs)
    }

    fn sweep_blobs(
        &self,
        needed: &BTreeSet<Digest>,
        stale: impl Fn(&Metadata) -> bool,
        report: &mut GarbageReport,
    ) -> Result<(), LayoutError> {
        for_each_file(&self.root.join(BLOBS), |path, metadata| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else {
                return Ok(());
            };
            if needed.contains(&digest) || !stale(metadata) {
                report.kept += metadata.len();
            } else if remove(path)? {
                report.blobs += 1;
                report.freed += metadata.len();
            }
            Ok(())
        })
    }

    fn sweep_temporary(
        &self,
        stale: impl Fn(&Metadata) -> bool,
        report: &mut GarbageReport,
    ) -> Result<(), LayoutError> {
        for_each_file(&self.root.join(TEMPORARY), |path, metadata| {
            if stale(metadata) && remove(path)? {
                report.temporary += 1;
                report.freed += metadata.len();
            }
            Ok(())
        })
    }
}

struct Named {
    name: String,
    unused: Duration,
    blobs: BTreeMap<Digest, u64>,
}

/// Names neither of the first two rules keeps.
fn outdated(images: &[Named], policy: &GarbagePolicy) -> BTreeSet<String> {
    let mut repositories: BTreeMap<&str, Vec<&Named>> = BTreeMap::new();
    for image in images {
        let repository = image
            .name
            .rsplit_once(':')
            .map_or(&*image.name, |(name, _)| name);
        repositories.entry(repository).or_default().push(image);
    }
    let mut names = BTreeSet::new();
    for repository in repositories.values_mut() {
        repository.sort_by_key(|image| image.unused);
        let old = repository
            .iter()
            .skip(policy.newest)
            .filter(|image| image.unused > policy.used_within && image.unused > policy.grace);
        names.extend(old.map(|image| image.name.clone()));
    }
    names
}

/// The names that must go for the rest to fit. Blobs are shared, so what a name frees depends on who else is left.
fn over_budget(
    images: &[Named],
    unnamed: &BTreeMap<Digest, u64>,
    policy: &GarbagePolicy,
) -> Vec<String> {
    let Some(budget) = policy.budget else {
        return Vec::new();
    };
    let mut users: BTreeMap<Digest, usize> = unnamed.keys().map(|digest| (*digest, 1)).collect();
    let mut total: u64 = unnamed.values().sum();
    for (digest, size) in images.iter().flat_map(|image| &image.blobs) {
        let count = users.entry(*digest).or_default();
        total += if *count == 0 { *size } else { 0 };
        *count += 1;
    }
    let mut oldest_first: Vec<&Named> = images.iter().collect();
    oldest_first.sort_by_key(|image| std::cmp::Reverse(image.unused));
    let mut names = Vec::new();
    for image in oldest_first {
        if total <= budget || image.unused <= policy.grace {
            break;
        }
        for (digest, size) in &image.blobs {
            let count = users.get_mut(digest).expect("counted above");
            *count -= 1;
            total -= if *count == 0 { *size } else { 0 };
        }
        names.push(image.name.clone());
    }
    names
}

fn sizes(blobs: Vec<Descriptor>) -> BTreeMap<Digest, u64> {
    blobs
        .into_iter()
        .map(|blob| (blob.digest, blob.size))
        .collect()
}

/// A time in the future, after a clock was set back, counts as now.
fn age(metadata: &Metadata, now: SystemTime) -> Duration {
    let modified = metadata.modified().unwrap_or(now);
    now.duration_since(modified).unwrap_or_default()
}

/// A folder that is not there has no files; a file that goes away meanwhile is none.
fn for_each_file(
    folder: &Path,
    mut visit: impl FnMut(&Path, &Metadata) -> Result<(), LayoutError>,
) -> Result<(), LayoutError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(LayoutError::io("list", folder)(source)),
    };
    for entry in entries {
        let entry = entry.map_err(LayoutError::io("list", folder))?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => visit(&entry.path(), &metadata)?,
            _ => {}
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<bool, LayoutError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(LayoutError::io("remove", path)(source)),
    }
}
