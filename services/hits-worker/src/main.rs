//! hits-worker
fn main() {}
