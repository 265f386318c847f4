//! Parsers of what comes otherwise: from the environment, from proxies, from a stream, from a backend, from a disk.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, SystemTime};

use ::redis::Value;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use hits::stream::{entries, living, read_entries};
use hits::{Fields, Increment};
use http::{HeaderMap, HeaderValue, Request, header};
use picture::{Kind, if_none_match as if_none_match_names, kept, retry_after};
use service_kit::{ClientAddress, Settings, config, postgres, redis};
use upload::Job;

const ETAG: &str = "\"a\"";
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 99);

/// The environment of all services: each variable has one of the lines, whose number is the sum of its name's bytes.
pub(crate) fn config(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let lookup = |name: &str| {
        let sum: usize = name.bytes().map(usize::from).sum();
        Some(OsString::from_vec(lines[sum % lines.len()].to_vec()))
    };
    let faults = [
        config::read(&lookup, Settings::read).err(),
        config::read(&lookup, birthday::configure).err(),
        config::read(&lookup, counter::configure).err(),
        config::read(&lookup, hits_api::configure).err(),
        config::read(&lookup, hits_worker::configure).err(),
        config::read(&lookup, picture::configure).err(),
        config::read(&lookup, picture_source::configure).err(),
        config::read(&lookup, upload::configure).err(),
    ];
    for fault in faults.into_iter().flatten() {
        let text = fault.to_string();
        assert!(text.contains("expected "), "{text}");
        assert!(
            !text.contains(char::is_control) || text.contains('\n'),
            "{text}"
        );
    }
}

/// What Redis says of its clients, a line each.
pub(crate) fn client_list(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        if let Some(name) = living(line) {
            assert!(
                line.contains(&format!("name={name}")) && !name.contains(' '),
                "{line}"
            );
        }
    }
}

/// `X-Forwarded-For`, one header a line, behind as many proxies as the first byte says.
pub(crate) fn forwarded_for(data: &[u8]) {
    let Some((proxies, data)) = data.split_first() else {
        return;
    };
    let proxies = usize::from(*proxies % 11);
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(ConnectInfo(PEER));
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.headers_mut().append("x-forwarded-for", value);
        }
    }
    let ClientAddress(address) = ClientAddress::of(&request, proxies);
    if address != PEER.ip() {
        assert!(proxies > 0, "nobody said {address}");
        let mut said = data.split(|byte| b"\n,".contains(byte));
        let is_it = |text: &[u8]| {
            let text = std::str::from_utf8(text).ok();
            text.and_then(|text| text.trim().parse().ok()) == Some(address)
        };
        assert!(said.any(is_it), "nobody said {address}");
    }
}

/// A message on the stream: a field a line, as `NAME=VALUE`.
pub(crate) fn hits_message(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let fields: Fields = lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match Increment::parse(&fields) {
        Ok(increment) => {
            assert!(increment.value >= 1, "{increment:?}");
            assert_eq!(Increment::parse(&increment.fields()), Ok(increment));
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// `If-None-Match`, one header a line.
pub(crate) fn if_none_match(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n');
    let values = lines.filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers = values.map(|value| (header::IF_NONE_MATCH, value)).collect();
    if if_none_match_names(&headers, ETAG) {
        let text = String::from_utf8_lossy(data);
        assert!(text.contains('*') || text.contains(ETAG), "{text}");
    }
}

/// The record of a job, as it lies in the store.
pub(crate) fn job_record(data: &[u8]) {
    if let Ok(job) = serde_json::from_slice::<Job>(data) {
        let written = serde_json::to_vec(&job).expect("a job is JSON");
        assert_eq!(
            serde_json::from_slice::<Job>(&written).expect("its own"),
            job
        );
    }
}

/// What a backend sends, and what is kept of it on disk.
pub(crate) fn picture_answer(data: &[u8]) {
    if let Some(kind) = Kind::of(data) {
        assert!(data.len() >= 3, "{kind:?}");
        let _ = kind.is_whole(data);
    }
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
        let _ = retry_after(&headers, SystemTime::now());
    }
    if let Some(picture) = kept(&Bytes::copy_from_slice(data), "source") {
        assert!(data.ends_with(&picture.bytes));
        let _ = picture.made + Duration::from_secs(1);
    }
}

/// What Redis answers where messages are expected, its arrays, texts and numbers written as JSON.
pub(crate) fn stream_answer(data: &[u8]) {
    let Ok(json) = serde_json::from_slice(data) else {
        return;
    };
    let answer = answer(json);
    let messages = entries(answer.clone()).into_iter();
    for (_, fields) in messages.chain(read_entries(answer)) {
        let _ = Increment::parse(&fields);
    }
}

fn answer(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Array(items) => Value::Array(items.into_iter().map(answer).collect()),
        serde_json::Value::String(text) => Value::BulkString(text.into_bytes()),
        serde_json::Value::Number(number) => number.as_i64().map_or(Value::Nil, Value::Int),
        serde_json::Value::Bool(_) => Value::Okay,
        serde_json::Value::Null | serde_json::Value::Object(_) => Value::Nil,
    }
}

/// `REDIS_URL`, `DATABASE_URL` and `STORE_URL`.
pub(crate) fn store_urls(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(place) = redis::url(text) {
        assert!(text.starts_with("redis"), "{place:?}");
    }
    if let Some(database) = postgres::url(text) {
        assert!(database.get_user().is_some());
    }
    let _ = text.parse::<upload::StoreUrl>();
}
