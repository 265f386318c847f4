//! What is refused by its head, and that no bytes make reading it panic or
//! allocate: the heap of this test binary is capped.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, RgbImage};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::sample::{Index, select};

use super::*;
use crate::variant::{Variant, decode, resize};

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    pixels: 100,
};
const FORMATS: [ImageFormat; 4] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Gif,
    ImageFormat::WebP,
];

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let image = DynamicImage::ImageRgb8(RgbImage::new(width, height));
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// The checksum of PNG's chunks.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))
        })
    })
}

/// A PNG of these chunks, each with the checksum that it needs.
fn png(chunks: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, content) in chunks {
        let named = [&name[..], content].concat();
        file.extend((content.len() as u32).to_be_bytes());
        file.extend(&named);
        file.extend(crc(&named).to_be_bytes());
    }
    file
}

fn png_head(width: u32, height: u32) -> ([u8; 4], Vec<u8>) {
    let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
    (
        *b"IHDR",
        [&width[..], &height[..], &[8, 2, 0, 0, 0]].concat(),
    )
}

#[test]
fn knows_an_image_by_its_content() {
    for format in FORMATS {
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
fn refuses_bombs_by_their_head() {
    let idat = (*b"IDAT", Vec::new());
    // 7.5 GB if it were decoded.
    let huge_png = png(&[png_head(50_000, 50_000), idat]);
    let mut huge_gif = encoded(10, 10, ImageFormat::Gif);
    huge_gif[6..10].copy_from_slice(&[0xFF; 4]);
    let mut huge_jpeg = encoded(10, 10, ImageFormat::Jpeg);
    let frame = huge_jpeg
        .windows(2)
        .position(|marker| marker == [0xFF, 0xC0])
        .unwrap();
    huge_jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    let mut huge_webp = encoded(10, 10, ImageFormat::WebP);
    // Two times 14 bits.
    huge_webp[21..25].copy_from_slice(&[0xFE, 0xBF, 0xFF, 0x0F]);
    for (file, pixels) in [
        (huge_png, 2_500_000_000),
        (huge_gif, 4_294_836_225),
        (huge_jpeg, 4_294_836_225),
        (huge_webp, 16_383 * 16_383),
        (encoded(11, 10, ImageFormat::Gif), 110),
    ] {
        let refusal = inspect(&file, LIMITS).unwrap_err();
        let Refusal::TooManyPixels { found, limit } = refusal else {
            panic!("{refusal:?} of {pixels} pixels");
        };
        assert_eq!((found, limit), (pixels, 100));
    }
}

#[test]
fn refuses_a_head_that_fills_the_memory() {
    // Uncompressed text of 5 MiB.
    let text = (*b"tEXt", [b"Comment\0", &[b'x'; 5 << 20][..]].concat());
    let file = png(&[png_head(1, 1), text, (*b"IDAT", Vec::new())]);
    let refusal = inspect(&file, LIMITS).unwrap_err();
    assert!(matches!(refusal, Refusal::HeadTooLarge), "{refusal:?}");
}

#[test]
fn refuses_contradictions_and_nothing() {
    let mut empty = encoded(1, 1, ImageFormat::Gif);
    empty[6..10].fill(0);
    let refusal = inspect(&empty, LIMITS).unwrap_err();
    assert!(matches!(refusal, Refusal::Empty), "{refusal:?}");

    // A canvas of 10 by 10 pixels around a frame of 16,383 by 16,383, 400 MB.
    let frame = [0x10, 0, 0, 0x9D, 1, 0x2A, 0xFF, 0x3F, 0xFF, 0x3F];
    let webp = [
        b"RIFF\x28\0\0\0WEBPVP8X\x0A\0\0\0".as_slice(),
        &[0, 0, 0, 0, 9, 0, 0, 9, 0, 0],
        b"VP8 \x0A\0\0\0",
        &frame,
    ]
    .concat();
    let refusal = inspect(&webp, LIMITS).unwrap_err();
    assert!(
        matches!(refusal, Refusal::Contradicts { .. }),
        "{refusal:?}"
    );
}

/// Everything that is done with the bytes of a stranger. A decoder that panics
/// is a failed job; one that allocates without end is the end of this process.
fn survives(file: &[u8]) {
    let Ok(found) = inspect(file, LIMITS) else {
        return;
    };
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let image = decode(file, found.format, LIMITS)?;
        Variant::RESIZED
            .into_iter()
            .try_for_each(|variant| resize(&image, variant, found.format).map(drop))
    }));
}

/// Real images with some bytes changed, and cut off somewhere or not.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..8);
    let end = any::<Option<Index>>();
    (select(&FORMATS[..]), changes, end).prop_map(|(format, changes, end)| {
        let mut file = encoded(9, 7, format);
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        file.truncate(end.map_or(file.len(), |end| end.index(file.len())));
        file
    })
}

/// PNGs of any chunks, whose checksums are right.
fn chunks() -> impl Strategy<Value = Vec<u8>> {
    let names = select(vec![
        *b"IDAT", *b"iCCP", *b"zTXt", *b"iTXt", *b"eXIf", *b"PLTE", *b"tRNS", *b"acTL", *b"fcTL",
    ]);
    let chunk = (names, vec(any::<u8>(), 0..40));
    let size = prop_oneof![(0_u32..11, 0_u32..11), any::<(u32, u32)>()];
    (size, vec(chunk, 0..5)).prop_map(|((width, height), chunks)| {
        png(&[vec![png_head(width, height)], chunks].concat())
    })
}

/// The beginning of an image, and anything after it.
fn begun() -> impl Strategy<Value = Vec<u8>> {
    let starts = select(vec![
        b"\xFF\xD8\xFF".to_vec(),
        b"GIF89a".to_vec(),
        b"RIFF\xFF\xFF\0\0WEBPVP8X\x0A\0\0\0".to_vec(),
        b"RIFF\xFF\xFF\0\0WEBPVP8 ".to_vec(),
        b"\x89PNG\r\n\x1a\n".to_vec(),
        Vec::new(),
    ]);
    (starts, vec(any::<u8>(), 0..300)).prop_map(|(start, rest)| [start, rest].concat())
}

proptest! {
    #[test]
    fn no_bytes_do_harm(file in prop_oneof![damaged(), chunks(), begun()]) {
        if let Ok(found) = inspect(&file, LIMITS) {
            let pixels = u64::from(found.width) * u64::from(found.height);
            prop_assert!((1..=LIMITS.pixels).contains(&pixels), "{found:?}");
        }
        survives(&file);
    }
}
