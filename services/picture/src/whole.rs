//! Whether a picture is all there. Its parts are stepped through, and nothing is decoded: what a server sends that
//! breaks off, or that only looks like a picture at its start, must not replace a good one.

use crate::picture::Kind;

/// What is left of a file.
struct Parts<'a>(&'a [u8]);

/// Whether the parts of a picture are there, from a head that says it has pixels to the end. What follows the end does
/// not matter.
pub(crate) fn is_whole(kind: Kind, file: &[u8]) -> bool {
    let mut parts = Parts(file);
    let end = match kind {
        Kind::Png => png(&mut parts),
        Kind::Jpeg => jpeg(&mut parts),
        Kind::Gif => gif(&mut parts),
        Kind::WebP => webp(&mut parts),
    };
    end.is_some()
}

/// A signature, then chunks: length, name, content, checksum (PNG, 5.3).
fn png(parts: &mut Parts<'_>) -> Option<()> {
    parts.skip(8)?;
    let (mut has_size, mut has_pixels) = (false, false);
    loop {
        let length = u32::from_be_bytes(parts.array()?);
        let name: [u8; 4] = parts.array()?;
        let content = parts.take(length as usize)?;
        parts.skip(4)?;
        match &name {
            b"IHDR" => {
                let (width, height) = content.split_at_checked(4)?;
                has_size = is_size(width, height.get(..4)?);
            }
            b"IDAT" => has_pixels |= has_size && !content.is_empty(),
            b"IEND" => return has_pixels.then_some(()),
            _ => {}
        }
    }
}

/// Markers, most of which have a length and content. The pixels that follow a scan's head have none (T.81, B.1).
fn jpeg(parts: &mut Parts<'_>) -> Option<()> {
    let (mut has_size, mut has_pixels) = (false, false);
    parts.skip(2)?;
    loop {
        let marker = parts.marker()?;
        if marker == 0xd9 {
            return has_pixels.then_some(());
        }
        let length = u16::from_be_bytes(parts.array()?);
        let content = parts.take(usize::from(length).checked_sub(2)?)?;
        match marker {
            // Not a frame, though in their midst: tables, and what is reserved.
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf => has_size = is_size(content.get(1..3)?, content.get(3..5)?),
            0xda => {
                has_pixels |= has_size;
                parts.skip_scan()?;
            }
            _ => {}
        }
    }
}

/// A head with the size of the screen, then blocks: extensions and images (GIF89a, appendix B).
fn gif(parts: &mut Parts<'_>) -> Option<()> {
    parts.skip(6)?;
    let [.., flags, _, _] = parts.array::<7>()?;
    parts.skip_colors(flags)?;
    let mut has_pixels = false;
    loop {
        match parts.array()? {
            [b'!'] => {
                parts.skip(1)?;
                parts.skip_blocks()?;
            }
            [b','] => {
                let [_, _, _, _, size @ .., flags] = parts.array::<9>()?;
                has_pixels |= is_size(&size[..2], &size[2..]);
                parts.skip_colors(flags)?;
                // How many bits a code starts with.
                parts.skip(1)?;
                parts.skip_blocks()?;
            }
            [b';'] => return has_pixels.then_some(()),
            _ => return None,
        }
    }
}

/// `RIFF`, a length, `WEBP`, then chunks: name, length, content (RFC 9649).
fn webp(parts: &mut Parts<'_>) -> Option<()> {
    parts.skip(4)?;
    let length = u32::from_le_bytes(parts.array()?);
    let mut chunks = Parts(parts.take(length as usize)?);
    chunks.skip(4)?;
    let mut has_pixels = false;
    while !chunks.0.is_empty() {
        let name: [u8; 4] = chunks.array()?;
        let length = u32::from_le_bytes(chunks.array()?);
        let content = chunks.take(length as usize)?;
        // One of odd length is followed by a byte that means nothing.
        let _ = chunks.skip(length as usize % 2);
        has_pixels |= match &name {
            b"VP8 " => content.get(3..6) == Some(&[0x9d, 0x01, 0x2a]),
            b"VP8L" => content.len() > 5 && content[0] == 0x2f,
            b"ANMF" => content.len() > 16,
            _ => false,
        };
    }
    has_pixels.then_some(())
}

/// Whether neither number is zero, whatever the order of their bytes.
fn is_size(width: &[u8], height: &[u8]) -> bool {
    [width, height]
        .iter()
        .all(|side| side.iter().any(|byte| *byte != 0))
}

impl<'a> Parts<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The next marker of a JPEG; any number of bytes may fill the space before it.
    fn marker(&mut self) -> Option<u8> {
        let [0xff] = self.array()? else { return None };
        let fill = self.0.iter().position(|byte| *byte != 0xff)?;
        self.skip(fill)?;
        self.array().map(|[marker]| marker)
    }

    /// The pixels of a JPEG's scan, up to the next marker that is neither an escape nor a restart.
    fn skip_scan(&mut self) -> Option<()> {
        let is_end = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
        let end = self.0.windows(2).position(is_end)?;
        self.skip(end)
    }

    /// The table of a GIF's colours, where its flags say that there is one.
    fn skip_colors(&mut self, flags: u8) -> Option<()> {
        match flags & 0x80 {
            0 => Some(()),
            _ => self.skip(3 << ((flags & 7) + 1)),
        }
    }

    /// Blocks of a GIF, each with its length, up to an empty one.
    fn skip_blocks(&mut self) -> Option<()> {
        loop {
            match self.array()? {
                [0] => return Some(()),
                [length] => self.skip(usize::from(length))?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
