//! What a file is, by its content, before anything is decoded: a small file
//! can hold an image that fills the memory.

use std::io::Cursor;

use image::{ImageDecoder, ImageError, ImageFormat, ImageReader};

use crate::webp;

/// What the head of an image may take: names, profiles and what a camera wrote.
const HEAD_MEMORY: u64 = 4 << 20;

/// What is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of the file.
    pub(crate) bytes: usize,
    /// Width times height.
    pub(crate) pixels: u64,
}

/// An image by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) format: ImageFormat,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the file is no PNG, JPEG, GIF or WebP")]
    NotAnImage,
    #[error("the head of the image cannot be read")]
    Broken(#[source] ImageError),
    #[error("the image has no pixels")]
    Empty,
    #[error("the image says that it has {width} by {height} pixels, and has others in it")]
    Contradicts { width: u32, height: u32 },
    #[error("the head of the image takes more than {} MiB", HEAD_MEMORY >> 20)]
    HeadTooLarge,
    #[error("the image has {found} pixels; {limit} are taken")]
    TooManyPixels { found: u64, limit: u64 },
}

/// Reads the head of an image. Takes no more than 4 MiB of memory besides a copy of the file.
pub(crate) fn inspect(file: &[u8], limits: Limits) -> Result<Inspected, Refusal> {
    let format = image::guess_format(file)
        .ok()
        .filter(|format| content_type(*format).is_some())
        .ok_or(Refusal::NotAnImage)?;
    let decoder =
        reader(file, format, HEAD_MEMORY)
            .into_decoder()
            .map_err(|error| match error {
                ImageError::Limits(_) => Refusal::HeadTooLarge,
                error => Refusal::Broken(error),
            })?;
    let (width, height) = decoder.dimensions();
    let found = u64::from(width) * u64::from(height);
    if found == 0 {
        return Err(Refusal::Empty);
    }
    if found > limits.pixels {
        let limit = limits.pixels;
        return Err(Refusal::TooManyPixels { found, limit });
    }
    let frame = match format {
        ImageFormat::WebP => webp::largest_frame(file),
        _ => Some((width, height)),
    };
    if frame.is_none_or(|frame| frame.0 > width || frame.1 > height) {
        return Err(Refusal::Contradicts { width, height });
    }
    Ok(Inspected {
        format,
        width,
        height,
    })
}

/// What decoding may allocate: as much as the largest image that is taken
/// needs with 16 bits in each of four channels.
pub(crate) fn decoding_memory(limits: Limits) -> u64 {
    limits.pixels.saturating_mul(8).max(1 << 20)
}

/// A reader that allocates no more than `memory` bytes.
pub(crate) fn reader(file: &[u8], format: ImageFormat, memory: u64) -> ImageReader<Cursor<&[u8]>> {
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(memory);
    reader.limits(limits);
    reader
}

/// The content type of a format that is taken.
pub(crate) fn content_type(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("image/png"),
        ImageFormat::Jpeg => Some("image/jpeg"),
        ImageFormat::Gif => Some("image/gif"),
        ImageFormat::WebP => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
