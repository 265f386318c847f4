//! The built binary: exit code, stdout and stderr, as a user sees them. No cluster, no engine, no network but 127.0.0.1.

mod bad_input;
mod base;
mod build;
mod debian;
mod help;
mod hostile;
mod init;
mod inputs;
mod packages;
mod pages;
mod platforms;
mod refused;
mod render;
mod rot;
mod seedling;
mod ssh;
mod timings;
mod workspace;
