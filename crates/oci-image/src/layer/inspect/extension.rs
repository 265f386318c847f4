//! Extended headers: what did not fit into the header of the entry that follows, as POSIX (PAX) and as GNU write it.

use std::collections::BTreeSet;

use super::Refusal;

/// What was said about the next entry.
#[derive(Debug, Default)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// A PAX header has been seen.
    pax: bool,
}

impl Extension {
    pub(super) fn is_empty(&self) -> bool {
        !self.pax && self.path.is_none() && self.target.is_none()
    }

    /// Records of POSIX. What Linux and overlay file systems take for their own marks is not for layers to set.
    pub(super) fn pax(&mut self, content: &[u8]) -> Result<(), Refusal> {
        if self.pax {
            return Err(Refusal::Extension("is followed by another"));
        }
        self.pax = true;
        let mut seen = BTreeSet::new();
        for record in records(content) {
            let (key, value) = record?;
            if !seen.insert(key) {
                return Err(Refusal::Extension("says a thing twice"));
            }
            match key {
                b"path" => set(&mut self.path, value)?,
                b"linkpath" => set(&mut self.target, value)?,
                b"size" => self.size = Some(number(value)?),
                key if key.starts_with(b"GNU.sparse.") => return Err(Refusal::Sparse),
                key if is_overlay_mark(key) => {
                    return Err(Refusal::Extension("has a mark of overlay file systems"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// GNU's long path: the next header has only its beginning.
    pub(super) fn long_path(&mut self, content: &[u8]) -> Result<(), Refusal> {
        set(&mut self.path, terminated(content)?)
    }

    /// GNU's long target of a link.
    pub(super) fn long_target(&mut self, content: &[u8]) -> Result<(), Refusal> {
        set(&mut self.target, terminated(content)?)
    }
}

/// Records for all entries that follow. Some readers heed them and some do not, so they may say nothing that matters:
/// `git archive` puts a commit there.
pub(super) fn global(content: &[u8]) -> Result<(), Refusal> {
    for record in records(content) {
        if record?.0 != b"comment" {
            return Err(Refusal::Extension("is for all entries"));
        }
    }
    Ok(())
}

fn set(field: &mut Option<Vec<u8>>, value: &[u8]) -> Result<(), Refusal> {
    if value.is_empty() {
        return Err(Refusal::Extension("has an empty path"));
    }
    if field.replace(value.to_vec()).is_some() {
        return Err(Refusal::Extension("says a thing twice"));
    }
    Ok(())
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn records(mut rest: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), Refusal>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((record, after)) = record(rest) else {
            rest = &[];
            return Some(Err(Refusal::Extension("is malformed")));
        };
        rest = after;
        Some(Ok(record))
    })
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn record(rest: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&rest[..space]).ok()?).ok()?;
    if length > rest.len() {
        return None;
    }
    let (record, after) = rest.split_at(length);
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return None;
    }
    Some(((key, value), after))
}

/// Decimal digits, without sign or space.
fn number(text: &[u8]) -> Result<u64, Refusal> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or(Refusal::Extension("has a number that is none"))
}

/// GNU ends its long names with a zero; what would come after one is seen by some readers only.
fn terminated(content: &[u8]) -> Result<&[u8], Refusal> {
    let end = content
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(content.len());
    let (name, rest) = content.split_at(end);
    if rest.iter().all(|byte| *byte == 0) {
        Ok(name)
    } else {
        Err(Refusal::Extension("goes on after its end"))
    }
}

/// `trusted.overlay.redirect` and its like would show other files than those of the layer.
fn is_overlay_mark(key: &[u8]) -> bool {
    let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else {
        return false;
    };
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
