//! The whole tool on a real engine and a real cluster. Needs Docker and `$KUBECONFIG`; without them every test
//! is ignored by `cargo test` and run by `cargo xtask test`, which counts what it cannot run.

mod accepted;
mod assembled;
mod attest;
mod builders;
mod cluster;
mod cut;
mod docker;
mod failures;
mod killed;
mod lifecycle;
mod rolling;
mod seedling;
mod sentinel;
mod shop;
mod together;
