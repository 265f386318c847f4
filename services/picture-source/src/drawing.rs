//! A picture drawn from a number: the same number draws the same picture.

use std::f32::consts::TAU;
use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageResult, Rgb, RgbImage};

const WIDTH: u32 = 800;
const HEIGHT: u32 = 600;
const RIDGES: u32 = 5;

/// A sky with a sun over hills, as a PNG of 800 by 600 pixels.
pub(crate) fn draw(seed: u64) -> ImageResult<Vec<u8>> {
    let scene = Scene::new(seed);
    let picture = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| scene.color(x as f32, y as f32));
    let mut png = Cursor::new(Vec::new());
    let encoder =
        PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive);
    picture.write_with_encoder(encoder)?;
    Ok(png.into_inner())
}

/// What is where.
struct Scene {
    /// In degrees.
    hue: f32,
    sun: Sun,
    /// The farthest first.
    ridges: Vec<Ridge>,
}

struct Sun {
    x: f32,
    y: f32,
    radius: f32,
    hue: f32,
}

/// A line of hills: two waves.
struct Ridge {
    base: f32,
    waves: [Wave; 2],
}

struct Wave {
    height: f32,
    length: f32,
    phase: f32,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        Self {
            hue: random.between(0.0, 360.0),
            sun: Sun {
                x: random.between(100.0, 700.0),
                y: random.between(80.0, 260.0),
                radius: random.between(30.0, 80.0),
                hue: random.between(20.0, 60.0),
            },
            ridges: (0..RIDGES)
                .map(|number| Ridge {
                    base: 290.0 + number as f32 * 60.0,
                    waves: [(35.0, 500.0), (12.0, 140.0)].map(|(height, length)| Wave {
                        height: random.between(height / 2.0, height),
                        length: random.between(length / 2.0, length),
                        phase: random.between(0.0, TAU),
                    }),
                })
                .collect(),
        }
    }

    /// The nearest ridge that reaches up to here, else the sun, else the sky.
    fn color(&self, x: f32, y: f32) -> Rgb<u8> {
        let nearest = self.ridges.iter().rposition(|ridge| y >= ridge.top(x));
        if let Some(number) = nearest {
            let lightness = 0.6 - number as f32 * 0.1;
            return hsl(self.hue + 120.0, 0.35, lightness);
        }
        let Sun {
            x: sun_x,
            y: sun_y,
            radius,
            hue,
        } = self.sun;
        if (x - sun_x).hypot(y - sun_y) < radius {
            return hsl(hue, 0.9, 0.75);
        }
        let depth = y / HEIGHT as f32;
        hsl(
            self.hue + 40.0 * depth,
            0.6 + 0.2 * depth,
            0.45 + 0.4 * depth,
        )
    }
}

impl Ridge {
    fn top(&self, x: f32) -> f32 {
        let waves = self.waves.iter();
        let rise = |wave: &Wave| wave.height * (x / wave.length * TAU + wave.phase).sin();
        self.base + waves.map(rise).sum::<f32>()
    }
}

/// Hue in degrees, saturation and lightness from 0 to 1 (CSS Color Module Level 4, section 7).
fn hsl(hue: f32, saturation: f32, lightness: f32) -> Rgb<u8> {
    let spread = saturation * lightness.min(1.0 - lightness);
    let channel = |offset: f32| {
        let at = (offset + hue / 30.0).rem_euclid(12.0);
        let value = lightness - spread * (at - 3.0).min(9.0 - at).clamp(-1.0, 1.0);
        (value * 255.0).round() as u8
    };
    Rgb([channel(0.0), channel(8.0), channel(4.0)])
}

/// `SplitMix64`: small, and good enough to draw with.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        // 24 bits: as many as fit exactly.
        let fraction = (self.next() >> 40) as f32 / (1u64 << 24) as f32;
        low + fraction * (high - low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for seed 0 of the published algorithm.
        let mut random = Random(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn colours_are_those_of_css() {
        for (hue, saturation, lightness, rgb) in [
            (0.0, 1.0, 0.5, [255, 0, 0]),
            (120.0, 1.0, 0.5, [0, 255, 0]),
            (240.0, 1.0, 0.5, [0, 0, 255]),
            (480.0, 1.0, 0.25, [0, 128, 0]),
            (77.0, 0.0, 1.0, [255, 255, 255]),
            (30.0, 0.5, 0.5, [191, 128, 64]),
        ] {
            assert_eq!(hsl(hue, saturation, lightness).0, rgb, "{hue}");
        }
    }

    #[test]
    fn a_seed_is_a_picture_that_others_can_read() {
        let png = draw(7).unwrap();
        assert_eq!(png, draw(7).unwrap());
        assert_ne!(png, draw(8).unwrap());
        let picture = image::load_from_memory(&png).unwrap();
        assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT));
        // The upper corner is sky, the lower is the nearest hill.
        let picture = picture.to_rgb8();
        assert_ne!(picture.get_pixel(0, 0), picture.get_pixel(0, HEIGHT - 1));
    }
}
