//! Pictures as programs write them, cut off everywhere, and what only looks like one.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage, Rgba, RgbaImage};

use super::*;

/// Of many colours, so that their data is not short.
fn written(format: ImageFormat) -> Vec<u8> {
    let pixel = |x: u32, y: u32| image::Rgb([(x * 7) as u8, (y * 13) as u8, (x * y) as u8]);
    let picture = DynamicImage::ImageRgb8(RgbImage::from_fn(33, 17, pixel));
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn all() -> [(Kind, Vec<u8>); 4] {
    [
        (Kind::Png, written(ImageFormat::Png)),
        (Kind::Jpeg, written(ImageFormat::Jpeg)),
        (Kind::Gif, written(ImageFormat::Gif)),
        (Kind::WebP, written(ImageFormat::WebP)),
    ]
}

#[test]
fn a_picture_is_whole_and_no_part_of_it_is() {
    for (kind, file) in all() {
        assert!(is_whole(kind, &file), "{kind:?}");
        let more = [&file[..], b"more"].concat();
        assert!(is_whole(kind, &more), "{kind:?} and more");
        for cut in 0..file.len() {
            assert!(!is_whole(kind, &file[..cut]), "{kind:?} cut at {cut}");
        }
    }
}

#[test]
fn a_start_without_a_picture_is_none() {
    let starts: [(Kind, &[u8]); 8] = [
        (
            Kind::Png,
            b"\x89PNG\r\n\x1a\n and an end\0\0\0\0IEND\xae\x42\x60\x82",
        ),
        // No size, no pixels.
        (Kind::Png, b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xae\x42\x60\x82"),
        (Kind::Jpeg, b"\xff\xd8\xff\xd9"),
        (Kind::Jpeg, b"\xff\xd8\xff and an end \xff\xd9"),
        (Kind::Gif, b"GIF89a\x01\0\x01\0\0\0\0;"),
        (Kind::Gif, b"GIF89a and an end;"),
        (Kind::WebP, b"RIFF\x04\0\0\0WEBP"),
        (Kind::WebP, b"RIFF\x0c\0\0\0WEBPEXIF\0\0\0\0"),
    ];
    for (kind, start) in starts {
        assert!(!is_whole(kind, start), "{}", start.escape_ascii());
    }
}

#[test]
fn no_pixels_are_no_picture() {
    let (png, jpeg) = (written(ImageFormat::Png), written(ImageFormat::Jpeg));
    for height in [20..24, 16..20] {
        let mut flat = png.clone();
        flat[height].fill(0);
        assert!(!is_whole(Kind::Png, &flat));
    }
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]);
    let mut flat = jpeg;
    flat[frame.unwrap() + 5..][..2].fill(0);
    assert!(!is_whole(Kind::Jpeg, &flat));
}

/// What cameras write: a small picture, with an end of its own, in the head of the large one.
#[test]
fn a_thumbnail_is_not_the_end() {
    let small = written(ImageFormat::Jpeg);
    let length = (small.len() + 2) as u16;
    let head = [&b"\xff\xd8\xff\xe1"[..], &length.to_be_bytes(), &small].concat();
    let whole = [&head[..], &small[2..]].concat();
    assert!(is_whole(Kind::Jpeg, &whole));
    assert!(!is_whole(Kind::Jpeg, &whole[..whole.len() - 2]));
    assert!(!is_whole(Kind::Jpeg, &head));
}

#[test]
fn a_picture_that_moves() {
    let mut file = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut file);
    for red in 0..3 {
        let frame = RgbaImage::from_pixel(5, 5, Rgba([red, 0, 0, 255]));
        encoder.encode_frame(image::Frame::new(frame)).unwrap();
    }
    drop(encoder);
    assert!(is_whole(Kind::Gif, &file));
    for cut in 0..file.len() {
        assert!(!is_whole(Kind::Gif, &file[..cut]), "cut at {cut}");
    }
}
