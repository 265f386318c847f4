//! The sizes in which an image is kept.

use std::io::Cursor;
use std::str::FromStr;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageResult};

use crate::inspect::{Limits, decoding_memory, reader};

const JPEG_QUALITY: u8 = 85;

/// A size.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Variant {
    /// The file as it came.
    Original,
    /// At most 1024 pixels wide and high.
    Medium,
    /// At most 256 pixels wide and high.
    Thumbnail,
}

impl Variant {
    /// The sizes that are made out of the original.
    pub(crate) const RESIZED: [Self; 2] = [Self::Medium, Self::Thumbnail];
    /// All that an image has once its job is done.
    pub(crate) const ALL: [Self; 3] = [Self::Original, Self::Medium, Self::Thumbnail];

    /// Its name in paths.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Medium => "medium",
            Self::Thumbnail => "thumbnail",
        }
    }

    fn edge(self) -> u32 {
        match self {
            Self::Original => u32::MAX,
            Self::Medium => 1024,
            Self::Thumbnail => 256,
        }
    }
}

impl FromStr for Variant {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|variant| variant.name() == text).ok_or(())
    }
}

/// Decodes an image, upright as its camera was held; of an animation the first
/// frame. Takes time and memory: not for an async task.
pub(crate) fn decode(
    file: &[u8],
    format: ImageFormat,
    limits: Limits,
) -> ImageResult<DynamicImage> {
    let mut decoder = reader(file, format, decoding_memory(limits)).into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// The image in a size, never larger than it is: a JPEG where it was one, else
/// a PNG, which can be transparent.
pub(crate) fn resize(
    image: &DynamicImage,
    variant: Variant,
    format: ImageFormat,
) -> ImageResult<Vec<u8>> {
    let edge = variant.edge();
    let resized = if image.width() > edge || image.height() > edge {
        &image.resize(edge, edge, FilterType::CatmullRom)
    } else {
        image
    };
    let mut file = Cursor::new(Vec::new());
    match format {
        ImageFormat::Jpeg => {
            let encoder = JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY);
            resized.to_rgb8().write_with_encoder(encoder)?;
        }
        _ => resized.write_to(&mut file, ImageFormat::Png)?,
    }
    Ok(file.into_inner())
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    fn size_of(file: &[u8]) -> (ImageFormat, u32, u32) {
        let image = image::load_from_memory(file).unwrap();
        (
            image::guess_format(file).unwrap(),
            image.width(),
            image.height(),
        )
    }

    #[test]
    fn keeps_the_shape_and_never_grows() {
        let large = DynamicImage::ImageRgba8(RgbaImage::new(2000, 500));
        let small = DynamicImage::ImageRgba8(RgbaImage::new(20, 40));
        for (image, variant, format, expected) in [
            (
                &large,
                Variant::Medium,
                ImageFormat::Jpeg,
                (ImageFormat::Jpeg, 1024, 256),
            ),
            (
                &large,
                Variant::Thumbnail,
                ImageFormat::Png,
                (ImageFormat::Png, 256, 64),
            ),
            (
                &large,
                Variant::Thumbnail,
                ImageFormat::WebP,
                (ImageFormat::Png, 256, 64),
            ),
            (
                &small,
                Variant::Medium,
                ImageFormat::Gif,
                (ImageFormat::Png, 20, 40),
            ),
        ] {
            let file = resize(image, variant, format).unwrap();
            assert_eq!(size_of(&file), expected);
        }
    }

    #[test]
    fn stays_transparent() {
        let image = RgbaImage::from_pixel(300, 300, Rgba([10, 20, 30, 0]));
        let file = resize(&image.into(), Variant::Thumbnail, ImageFormat::Png).unwrap();
        let back = image::load_from_memory(&file).unwrap().to_rgba8();
        assert_eq!(back.get_pixel(5, 5)[3], 0);
    }

    #[test]
    fn names() {
        for variant in Variant::ALL {
            assert_eq!(variant.name().parse(), Ok(variant));
        }
        assert_eq!("huge".parse::<Variant>(), Err(()));
    }
}
