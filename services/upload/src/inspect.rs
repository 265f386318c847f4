//! What a file is, by its content, before anything is decoded: a small file
//! can hold an image that fills the memory.

use std::io::Cursor;

use image::{ImageDecoder, ImageFormat, ImageReader};

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
    Broken(#[source] image::ImageError),
    #[error("the image has {found} pixels; {limit} are taken")]
    TooManyPixels { found: u64, limit: u64 },
}

/// Reads the head of an image.
pub(crate) fn inspect(file: &[u8], limits: Limits) -> Result<Inspected, Refusal> {
    let format = image::guess_format(file)
        .ok()
        .filter(|format| content_type(*format).is_some())
        .ok_or(Refusal::NotAnImage)?;
    let decoder = reader(file, format, limits)
        .into_decoder()
        .map_err(Refusal::Broken)?;
    let (width, height) = decoder.dimensions();
    let found = u64::from(width) * u64::from(height);
    if found > limits.pixels {
        return Err(Refusal::TooManyPixels {
            found,
            limit: limits.pixels,
        });
    }
    Ok(Inspected {
        format,
        width,
        height,
    })
}

/// A reader that allocates no more than the largest image that is taken needs
/// with 16 bits in each of four channels.
pub(crate) fn reader(
    file: &[u8],
    format: ImageFormat,
    limits: Limits,
) -> ImageReader<Cursor<&[u8]>> {
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    let mut memory = image::Limits::no_limits();
    memory.max_alloc = Some(limits.pixels.saturating_mul(8).max(1 << 20));
    reader.limits(memory);
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
mod tests {
    use image::{DynamicImage, RgbImage};

    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 1 << 20,
        pixels: 100,
    };

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let image = DynamicImage::ImageRgb8(RgbImage::new(width, height));
        image.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    #[test]
    fn knows_an_image_by_its_content() {
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::WebP,
        ] {
            let found = inspect(&encoded(10, 5, format), LIMITS).unwrap();
            let expected = Inspected {
                format,
                width: 10,
                height: 5,
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for file in [&b""[..], b"hello", b"<svg/>", b"BM......................"] {
            let refusal = inspect(file, LIMITS).unwrap_err();
            assert!(matches!(refusal, Refusal::NotAnImage), "{refusal:?}");
        }
        let head = &encoded(10, 5, ImageFormat::Png)[..20];
        let refusal = inspect(head, LIMITS).unwrap_err();
        assert!(matches!(refusal, Refusal::Broken(_)), "{refusal:?}");
    }

    #[test]
    fn refuses_a_bomb_by_its_head() {
        // The head of a PNG of 50,000 by 50,000 pixels: 10 GB if it were decoded.
        let mut file = encoded(1, 1, ImageFormat::Png);
        file[16..20].copy_from_slice(&50_000_u32.to_be_bytes());
        file[20..24].copy_from_slice(&50_000_u32.to_be_bytes());
        let refusal = inspect(&file, LIMITS);
        assert!(refusal.is_err());
        let large = inspect(&encoded(11, 10, ImageFormat::Gif), LIMITS).unwrap_err();
        let Refusal::TooManyPixels { found, limit } = large else {
            panic!("{large:?}");
        };
        assert_eq!((found, limit), (110, 100));
    }
}
