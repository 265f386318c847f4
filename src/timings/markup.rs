//! Text of HTML and SVG: nothing that is measured or named gets in without being escaped.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

/// A text that shows itself escaped, for content and for quoted attributes.
pub(super) struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // HTML has no way to write them.
                '\t' | '\n' => f.write_char(char)?,
                char if char.is_control() => f.write_char('\u{fffd}')?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// Adds to `out`, which takes everything.
macro_rules! put {
    ($out:expr, $($argument:tt)*) => {
        std::fmt::Write::write_fmt($out, format_args!($($argument)*)).expect("a String takes everything")
    };
}
pub(super) use put;

/// `12 ms`, `1.23 s`, `101.2 s`, `20 min 3 s`.
pub(super) fn show(time: Duration) -> String {
    let milliseconds = time.as_millis();
    if milliseconds < 100 {
        format!("{milliseconds} ms")
    } else if time.as_secs() < 100 {
        format!("{:.2} s", time.as_secs_f64())
    } else if time.as_secs() < 1000 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

/// At most `limit` characters.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_markup_is_escaped() {
        let found = Escaped("<a href='x' b=\"y\">&amp;\u{1b}[0m").to_string();
        assert_eq!(
            found,
            "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;amp;\u{fffd}[0m"
        );
    }

    #[test]
    fn times_and_names_are_short() {
        for (milliseconds, text) in [
            (0, "0 ms"),
            (99, "99 ms"),
            (1234, "1.23 s"),
            (200_000, "200.0 s"),
            (1_203_000, "20 min 3 s"),
        ] {
            assert_eq!(show(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(shorten("birthday", 8), "birthday");
        assert_eq!(shorten("birthdays", 8), "birthda…");
    }
}
