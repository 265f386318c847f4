//! What a deployment would change: desired objects against observed ones, as data. No I/O.

mod build;
mod change;
mod diff;
mod graph;
mod rows;

pub use build::{Observed, build};
pub use change::{Action, Change, FieldChange, Plan};
pub use diff::diff;
pub use graph::{Blocked, Stage, Step, blocked_by};
pub use rows::Row;
