//! hits-api
fn main() {}
