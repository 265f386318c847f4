//! The only place that writes to the terminal: data to stdout, all else to stderr.

mod diagnostics;
mod duration;
mod json;
mod log_lines;
mod outcome;
mod progress;
mod table;
mod terminal;
mod timings;

pub use terminal::Terminal;
