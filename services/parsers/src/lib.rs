//! Every parser of the services that reads what others wrote, as a function that takes any bytes and panics where
//! the parser does, or where what it says cannot be.
//!
//! `tests/mutations.rs` feeds them in every test run; the programs in `fuzz/` let libFuzzer look for more. Both start from `seeds/NAME/`.

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
pub const TARGETS: [Target; 13] = [
    target("birthday_date", requests::birthday_date),
    target("birthday_user", requests::birthday_user),
    target("config", texts::config),
    target("counter_by", requests::counter_by),
    target("counter_name", requests::counter_name),
    target("forwarded_for", texts::forwarded_for),
    target("hits_message", texts::hits_message),
    target("idempotency_key", requests::idempotency_key),
    target("increment_body", requests::increment_body),
    target("picture_answer", texts::picture_answer),
    target("store_urls", texts::store_urls),
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
