//! The program as Kubernetes runs it, and alone.

use service_kit::testing::starts_alone;

#[test]
fn alone_it_starts_and_ends_and_in_a_pod_it_wants_its_store() {
    starts_alone(
        env!("CARGO_BIN_EXE_upload"),
        &[],
        &["images"],
        &["STORE_URL"],
    );
}
