//! birthday
fn main() {}
