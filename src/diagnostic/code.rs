//! Stable identifiers of problems.

use std::fmt;

/// `S` and four digits; the first two name the area:
///
/// | range | area |
/// |---|---|
/// | S01 | YAML and the files of the stack |
/// | S02 | templates |
/// | S03 | manifests |
/// | S04 | building images |
/// | S05 | delivering images |
/// | S06 | reaching the cluster, guards, locks, secrets |
/// | S07 | planning and applying |
/// | S08 | what runs: causes that keep a workload from being ready |
/// | S09 | smoke tests |
/// | S10 | port-forward and logs |
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(&'static str);

impl Code {
    /// Made once per problem, as a constant beside the operation that finds it (`tidy` checks that no two are alike).
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        assert!(
            code.len() == 5 && code.as_bytes()[0] == b'S',
            "a code is S and four digits"
        );
        Self(code)
    }

    /// The code as text, such as `S0102`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
