//! From `POST /increment` to the sum, over real servers, some of which die.
#![allow(clippy::unwrap_used)]

mod age;
mod backlog;
mod dead_letters;
mod kills;
mod paused;
mod process;
mod proxy;
mod stack;
mod summing;
