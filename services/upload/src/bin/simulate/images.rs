//! The images that are uploaded: small ones, all different.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, ImageResult, Rgb, RgbImage};

const NUMBER: u32 = 64;
const FORMATS: [ImageFormat; 4] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Gif,
    ImageFormat::WebP,
];

/// 64 files in four formats, from 16 by 24 to 268 by 276 pixels.
pub(crate) fn all() -> ImageResult<Vec<Bytes>> {
    (0..NUMBER).map(draw).collect()
}

fn draw(number: u32) -> ImageResult<Bytes> {
    let side = 16 + number * 4;
    let image = RgbImage::from_fn(side, side + 8, |x, y| {
        Rgb([
            (x * 3 + number) as u8,
            (y * 5) as u8,
            (x * y / 16 + number * 7) as u8,
        ])
    });
    let format = FORMATS[number as usize % FORMATS.len()];
    let mut file = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image).write_to(&mut file, format)?;
    Ok(file.into_inner().into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn are_different_and_can_be_read() {
        let images = all().expect("images can be drawn");
        assert_eq!(images.iter().collect::<HashSet<_>>().len(), 64);
        for image in images {
            assert!(image::load_from_memory(&image).is_ok());
        }
    }
}
