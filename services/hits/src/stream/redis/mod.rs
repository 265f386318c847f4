//! The stream in Redis, read by a consumer group.

mod consumer;
mod peers;
mod producer;

pub use consumer::RedisConsumer;
pub use peers::living;
pub use producer::RedisProducer;

const STREAM: &str = "hits";
const GROUP: &str = "hits-worker";
/// Where messages go that can never be applied; kept until someone looks.
const DEAD_LETTERS: &str = "hits:dead";
