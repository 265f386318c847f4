//! Where the time went: engines measure spans, from which come the critical path, tables and a page.

mod cargo;
mod chart;
mod json;
mod markup;
mod page;
mod path;
mod recorder;
mod run;
mod step;
mod write;

pub use cargo::{CargoLog, Unit, UnitKind};
pub use page::Page;
pub use path::Link;
pub use recorder::{Running, Timings};
pub use run::{Cell, Row, Run, Share, Span, SpanId, Table};
pub use step::Step;
pub use write::{WriteError, write};
