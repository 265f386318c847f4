//! upload
fn main() {}
