//! picture
fn main() {}
