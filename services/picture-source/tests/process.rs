//! The program as Kubernetes runs it, and alone.

use service_kit::testing::starts_alone;

#[test]
fn alone_it_starts_and_ends() {
    starts_alone(env!("CARGO_BIN_EXE_picture-source"), &[], &[], &[]);
}
