//! Every parser of the services that reads what others wrote, as a function that takes any bytes and panics where
//! the parser does, or where what it says cannot be.
//!
//! `tests/mutations.rs` feeds them in every test run; `cargo xtask fuzz` lets libFuzzer look for more, with the
//! programs in `fuzz/`. Both start from `seeds/NAME/`.

mod requests;
mod texts;

/// A parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also of its folder of seeds, and of its program for libFuzzer.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 22] = [
    target("birthday_date", requests::birthday_date),
    target("birthday_user", requests::birthday_user),
    target("client_list", texts::client_list),
    target("config", texts::config),
    target("counter_by", requests::counter_by),
    target("counter_name", requests::counter_name),
    target("forwarded_for", texts::forwarded_for),
    target("hits_message", texts::hits_message),
    target("idempotency_key", requests::idempotency_key),
    target("if_none_match", texts::if_none_match),
    target("image_path", requests::image_path),
    target("increment_body", requests::increment_body),
    target("increment_key", requests::increment_key),
    target("job_id", requests::job_id),
    target("job_record", texts::job_record),
    target("jobs_query", requests::jobs_query),
    target("picture_answer", texts::picture_answer),
    target("request_id", requests::request_id),
    target("store_urls", texts::store_urls),
    target("stream_answer", texts::stream_answer),
    target("upload_form", requests::upload_form),
    target("upload_image", requests::upload_image),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Feeds the parser of this name.
///
/// # Panics
/// When the parser does, and when there is none of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a parser has this name").run)(data);
}
