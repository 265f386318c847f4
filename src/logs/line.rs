//! Lines of a log as the API server sends them: a time, a space, the text.

use std::io;

use futures_util::io::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::jiff::Timestamp;

/// A longer line is cut.
const LIMIT: usize = 64 * 1024;

/// Reads a line without its break, or the next piece of one that is too long; `None` at the end. What
/// stands before an error or the end without a break counts as a line of its own.
pub(super) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok((!line.is_empty()).then(|| text(&line)));
        }
        let room = available.len().min(LIMIT - line.len());
        let (part, used, complete) = match available[..room].iter().position(|&b| b == b'\n') {
            Some(end) => (&available[..end], end + 1, true),
            None => (&available[..room], room, false),
        };
        line.extend_from_slice(part);
        reader.consume_unpin(used);
        if complete || line.len() >= LIMIT {
            return Ok(Some(text(&line)));
        }
    }
}

fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

/// Splits a line into its time and its text. The rest of a line that was too long has no time of its
/// own: it has that of the line before.
pub(super) fn stamp(line: String, before: Option<Timestamp>) -> (Timestamp, String) {
    let (stamp, text) = line.split_once(' ').unwrap_or((&line, ""));
    match stamp.parse() {
        Ok(time) => (time, text.to_owned()),
        Err(_) => (before.unwrap_or_default(), line),
    }
}

/// Where a log was left, so that it can be read on without losing or repeating a line: the API server
/// takes up at a whole second, and several lines can have one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    last: Option<Timestamp>,
    /// Lines of the time `last` that were read.
    count: usize,
}

/// Cuts the lines of one response.
pub(super) struct Cutter<'p> {
    position: &'p mut Position,
    /// Up to here lines are known; only while a log is read on.
    known: Option<Timestamp>,
    known_left: usize,
    time: Option<Timestamp>,
}

impl Position {
    /// From when on to ask for lines.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.last
    }

    /// For the next response.
    pub(super) fn cutter(&mut self) -> Cutter<'_> {
        Cutter {
            known: self.last,
            known_left: self.count,
            time: None,
            position: self,
        }
    }
}

impl Cutter<'_> {
    /// The time and the text of a line; nothing where it was read before.
    pub(super) fn cut(&mut self, line: String) -> Option<(Timestamp, String)> {
        let (time, text) = stamp(line, self.time.or(self.position.last));
        self.time = Some(time);
        if let Some(known) = self.known {
            if time < known {
                return None;
            }
            if time == known && self.known_left > 0 {
                self.known_left -= 1;
                return None;
            }
            if time > known {
                self.known = None;
            }
        }
        match self.position.last {
            Some(last) if time == last => self.position.count += 1,
            // Two streams of a container may swap lines.
            Some(last) if time < last => {}
            _ => {
                self.position.last = Some(time);
                self.position.count = 1;
            }
        }
        Some((time, text))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::io::Cursor;

    use super::*;

    async fn lines(text: &[u8]) -> Vec<String> {
        let mut reader = Cursor::new(text.to_vec());
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut reader).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_end_at_breaks_and_at_the_end() {
        assert_eq!(lines(b"a\n\nb\r\nc").await, ["a", "", "b", "c"]);
        assert!(lines(b"").await.is_empty());
        assert_eq!(lines(b"\xff\n").await, ["\u{fffd}"]);
    }

    #[tokio::test]
    async fn a_line_without_end_comes_in_pieces() {
        let found = lines(&vec![b'x'; 2 * LIMIT + 3]).await;
        let lengths: Vec<usize> = found.iter().map(String::len).collect();
        assert_eq!(lengths, [LIMIT, LIMIT, 3]);
    }

    fn cut(position: &mut Position, lines: &[&str]) -> Vec<String> {
        let mut cutter = position.cutter();
        lines
            .iter()
            .filter_map(|line| cutter.cut((*line).to_owned()))
            .map(|(_, text)| text)
            .collect()
    }

    const A: &str = "2026-11-21T04:00:00.1Z a";
    const B1: &str = "2026-11-21T04:00:00.2Z b1";
    const B2: &str = "2026-11-21T04:00:00.2Z b2";
    const B3: &str = "2026-11-21T04:00:00.2Z b3";
    const C: &str = "2026-11-21T04:00:00.3Z c";

    #[test]
    fn a_log_that_is_read_on_repeats_and_loses_nothing() {
        let mut position = Position::default();
        assert_eq!(cut(&mut position, &[A, B1, B2]), ["a", "b1", "b2"]);
        assert_eq!(
            position.since(),
            Some("2026-11-21T04:00:00.2Z".parse().unwrap())
        );
        // The server starts at the whole second.
        assert_eq!(cut(&mut position, &[A, B1, B2, B3, C]), ["b3", "c"]);
        assert_eq!(cut(&mut position, &[A, B1, B2, B3, C]), [""; 0]);
        assert_eq!(
            cut(&mut position, &[C, C]),
            ["c"],
            "equal lines are not one"
        );
    }

    #[test]
    fn a_line_out_of_order_is_not_where_a_log_was_left() {
        let mut position = Position::default();
        assert_eq!(cut(&mut position, &[B1, A]), ["b1", "a"]);
        assert_eq!(cut(&mut position, &[B1, A, C]), ["c"]);
    }

    #[test]
    fn lines_without_time_belong_to_the_line_before() {
        let mut position = Position::default();
        let mut cutter = position.cutter();
        let (time, text) = cutter.cut(A.into()).unwrap();
        assert_eq!(text, "a");
        assert_eq!(
            cutter.cut("the rest".into()),
            Some((time, "the rest".into()))
        );
        assert_eq!(
            cutter.cut("2026-11-21T04:00:01Z ".into()).unwrap().1,
            "",
            "an empty line"
        );
        assert_eq!(
            cutter.cut("2026-11-21T04:00:02Z  x".into()).unwrap().1,
            " x"
        );
    }
}
