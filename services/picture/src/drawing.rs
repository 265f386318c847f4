//! A picture drawn from a number: the same number draws the same picture.

use std::fmt::Write as _;

const WIDTH: u64 = 800;
const HEIGHT: u64 = 600;

/// An SVG of a sky with a sun over hills.
pub(crate) fn draw(seed: u64) -> String {
    let mut random = Random(seed);
    let hue = random.below(360);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"><defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="hsl({hue} 60% 45%)"/><stop offset="1" stop-color="hsl({} 80% 85%)"/></linearGradient></defs><rect width="100%" height="100%" fill="url(#sky)"/>"##,
        (hue + 40) % 360
    );
    let (x, y, radius) = (
        random.between(100, 700),
        random.between(80, 260),
        random.between(30, 80),
    );
    let _ = write!(
        svg,
        r#"<circle cx="{x}" cy="{y}" r="{radius}" fill="hsl({} 90% 75%)"/>"#,
        random.between(20, 60)
    );
    for ridge in 0..5 {
        hills(&mut svg, &mut random, hue, ridge);
    }
    svg.push_str("</svg>\n");
    svg
}

/// One ridge; the nearer (higher numbers), the lower and darker.
fn hills(svg: &mut String, random: &mut Random, hue: u64, ridge: u64) {
    const STEP: u64 = 100;
    let base = 260 + ridge * 60;
    let _ = write!(svg, r#"<path d="M0 {HEIGHT}"#);
    for x in (0..=WIDTH).step_by(STEP as usize) {
        let y = base + random.below(70);
        let before = x.saturating_sub(STEP / 2);
        let _ = write!(svg, " S{before} {y} {x} {y}");
    }
    let _ = write!(
        svg,
        r#" L{WIDTH} {HEIGHT} Z" fill="hsl({} 35% {}%)"/>"#,
        (hue + 120) % 360,
        60 - ridge * 10
    );
}

/// SplitMix64: small, and good enough to draw with.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
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
    fn a_seed_is_a_picture() {
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn every_drawing_is_closed_and_in_range() {
        for seed in 0..200 {
            let svg = draw(seed);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert_eq!(svg.matches('<').count(), svg.matches('>').count());
            assert_eq!(svg.matches('"').count() % 2, 0);
            assert_eq!(svg.matches("<path").count(), 5);
        }
    }
}
