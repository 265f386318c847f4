//! The built binary: exit code, stdout and stderr, as a user sees them. No cluster, no engine, no network.

mod bad_input;
mod build;
mod help;
mod hostile;
mod init;
mod inputs;
mod render;
mod workspace;
