//! counter
fn main() {}
