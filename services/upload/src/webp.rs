//! The frames of a WebP, found by walking its chunks: its decoder believes the size that a frame claims, and the length
//! that a chunk claims, when it allocates.

/// The chunks that the decoder reads; it steps over others.
const READ: [&[u8; 4]; 8] = [
    b"ICCP", b"EXIF", b"XMP ", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L",
];
/// `RIFF`, a length, `WEBP`.
const RIFF_HEAD: usize = 12;
/// What an `ANMF` chunk has before its frame: place, size and duration.
const FRAME_HEAD: usize = 16;

/// A part of a file.
struct Chunk<'a> {
    name: &'a [u8; 4],
    /// None where the file ends before it does.
    content: Option<&'a [u8]>,
    behind: &'a [u8],
}

/// The width and height of the largest frame, each for itself: what a decoder may be made to allocate for. None when a
/// chunk that it reads is longer than the file, or holds no frame where one must be.
pub(crate) fn largest_frame(file: &[u8]) -> Option<(u32, u32)> {
    largest_of(file.get(RIFF_HEAD..)?)
}

fn largest_of(mut rest: &[u8]) -> Option<(u32, u32)> {
    let mut largest = (0, 0);
    while let Some(chunk) = Chunk::first_of(rest) {
        let Some(content) = chunk.content else {
            return (!READ.contains(&chunk.name)).then_some(largest);
        };
        let size = match chunk.name {
            b"VP8 " => lossy_size(content)?,
            b"VP8L" => lossless_size(content)?,
            b"ANMF" => largest_of(content.get(FRAME_HEAD..)?)?,
            _ => (0, 0),
        };
        largest = (largest.0.max(size.0), largest.1.max(size.1));
        rest = chunk.behind;
    }
    Some(largest)
}

impl<'a> Chunk<'a> {
    fn first_of(rest: &'a [u8]) -> Option<Self> {
        let (name, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        Some(Self {
            name,
            content: rest.get(..length),
            // One of odd length is followed by a byte that means nothing.
            behind: rest.get(length + length % 2..).unwrap_or_default(),
        })
    }
}

/// Of a key frame of VP8 (RFC 6386, 9.1).
fn lossy_size(frame: &[u8]) -> Option<(u32, u32)> {
    let size = frame.get(6..10)?;
    let side = |at| u32::from(u16::from_le_bytes([size[at], size[at + 1]]) & 0x3FFF);
    Some((side(0), side(2)))
}

/// Of the lossless format: two times 14 bits, each one less.
fn lossless_size(frame: &[u8]) -> Option<(u32, u32)> {
    let (head, _) = frame.get(1..)?.split_first_chunk::<4>()?;
    let bits = u32::from_le_bytes(*head);
    Some(((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat, RgbImage};

    use super::*;

    fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = [&name[..], &(content.len() as u32).to_le_bytes(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        chunk(b"RIFF", &[b"WEBP".to_vec(), chunks.concat()].concat())
    }

    fn lossy(width: u16, height: u16) -> Vec<u8> {
        let (width, height) = (width.to_le_bytes(), height.to_le_bytes());
        [&[0x10, 0, 0, 0x9D, 1, 0x2A], &width[..], &height[..]].concat()
    }

    #[test]
    fn sizes_of_real_files() {
        let mut file = Cursor::new(Vec::new());
        let image = DynamicImage::ImageRgb8(RgbImage::new(300, 7));
        image.write_to(&mut file, ImageFormat::WebP).unwrap();
        assert_eq!(largest_frame(&file.into_inner()), Some((300, 7)));
    }

    #[test]
    fn finds_the_frame_that_the_head_does_not_tell_of() {
        let head = chunk(b"VP8X", &[0; 10]);
        let still = riff(&[head.clone(), chunk(b"VP8 ", &lossy(16_383, 9))]);
        assert_eq!(largest_frame(&still), Some((16_383, 9)));
        let frame = [vec![0; 16], chunk(b"VP8 ", &lossy(5, 16_000))].concat();
        let moving = riff(&[head, chunk(b"abc ", b"odd"), chunk(b"ANMF", &frame)]);
        assert_eq!(largest_frame(&moving), Some((5, 16_000)));
    }

    #[test]
    fn chunks_that_are_longer_than_the_file() {
        let mut long = riff(&[chunk(b"VP8 ", &lossy(3, 4)), chunk(b"EXIF", b"")]);
        let length = long.len() - 4;
        long[length..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(largest_frame(&long), None);
        // Some programs leave their own words at the end.
        long[length - 4..length].copy_from_slice(b"word");
        assert_eq!(largest_frame(&long), Some((3, 4)));
        assert_eq!(largest_frame(&riff(&[chunk(b"VP8 ", b"short")])), None);
        assert_eq!(largest_frame(b"RIFF"), None);
    }
}
