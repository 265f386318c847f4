//! Pages on disk: `target/stackctl/timings/build-<time>.html`, and `latest.html`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};

/// A page that cannot be written.
const WRITE: Code = Code::new("S0464");
/// Older pages are deleted.
const KEPT: usize = 20;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the timings to `{}`", path.display())]
pub struct WriteError {
    /// The file or its folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Writes `page` below the repository `root` and returns the path of the file that stays, beside `latest.html` and,
/// for programs, `latest.json`.
pub fn write(
    root: &Path,
    page: &str,
    json: &Value,
    started: Timestamp,
) -> Result<PathBuf, WriteError> {
    let folder = root.join("target/stackctl/timings");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError { path, source }
    };
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let time = Offset::UTC
        .to_datetime(started)
        .strftime("%Y%m%dT%H%M%S%3fZ")
        .to_string();
    let kept = folder.join(format!("build-{time}.html"));
    for path in [&kept, &folder.join("latest.html")] {
        replace(path, &folder, page).map_err(failed(path))?;
    }
    let document = folder.join("latest.json");
    replace(&document, &folder, &format!("{json:#}\n")).map_err(failed(&document))?;
    // Too many pages are no reason to fail.
    if let Err(error) = prune(&folder) {
        tracing::debug!(%error, "old timings stay");
    }
    Ok(kept)
}

fn replace(path: &Path, folder: &Path, page: &str) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(page.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn prune(folder: &Path) -> io::Result<()> {
    let mut names: Vec<String> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("build-") && name.ends_with(".html"))
        .collect();
    // Their names sort by time.
    names.sort_unstable();
    let old = names.len().saturating_sub(KEPT);
    names[..old]
        .iter()
        .try_for_each(|name| fs::remove_file(folder.join(name)))
}

impl Explain for WriteError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![Diagnostic::error(WRITE, self.to_string()).caused_by(&self.source)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_by_time_and_the_oldest_go() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("target/stackctl/timings");
        for second in 0..25 {
            let started = Timestamp::from_second(1_714_564_800 + second).unwrap();
            let path = write(
                root.path(),
                &format!("page {second}"),
                &Value::Null,
                started,
            )
            .unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), format!("page {second}"));
        }
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names.len(), KEPT + 2);
        assert_eq!(names[0], "build-20240501T120005000Z.html");
        assert_eq!(names[KEPT], "latest.html");
        assert_eq!(
            fs::read_to_string(folder.join("latest.html")).unwrap(),
            "page 24"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("target"), "").unwrap();
        let error = write(root.path(), "", &Value::Null, Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().contains("target/stackctl/timings"));
        assert_eq!(error.diagnostics()[0].code.as_str(), "S0464");
    }
}
