//! The contract that every service keeps, and real servers for tests: PostgreSQL and Redis as Debian packages them, each
//! on a free loopback port with its data in a temporary folder, ended with the
//! value that stands for it.
//!
//! A missing server fails the test and names the package. With
//! `STACKCTL_SKIP_SERVERS=1` the test is skipped instead, loudly.

mod alone;
mod contract;
mod http;
mod postgres;
mod process;
mod program;
mod random;
mod redis;
mod sentinel;
mod settle;

pub use self::alone::starts_alone;
pub use self::contract::{Contract, Draft, Slot, contract};
pub use self::http::{Answer, call, request};
pub use self::postgres::PostgresServer;
pub use self::process::{find, free_port};
pub use self::program::{Program, REQUEST_ID, Refusal, ask, refusal};
pub use self::random::Random;
pub use self::redis::RedisServer;
pub use self::sentinel::{Member, RedisSentinel};
