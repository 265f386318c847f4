//! `GET /picture`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use service_kit::Problem;

use crate::State;

/// Whether the picture is `fresh`, or `stale` because no newer one can be had.
const FRESHNESS: HeaderName = HeaderName::from_static("x-picture");
/// An SVG that is opened by itself is a document: it may do nothing.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// The picture, or 304 for who has it already. Caches may keep it for as long
/// as it is kept here.
#[utoipa::path(
    get, path = "/picture",
    responses(
        (
            status = OK, content_type = "image/*", body = Vec<u8>,
            headers(
                ("ETag" = String, description = "changes with the picture"),
                ("X-Picture" = String, description = "`fresh`, or `stale` while no newer one can be had")
            )
        ),
        (status = NOT_MODIFIED, description = "it is the one that `If-None-Match` names")
    )
)]
pub(crate) async fn serve(
    Shared(state): Shared<State>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Some((picture, remaining)) = state.album.current() else {
        return Err(Problem::unavailable(
            "no-picture-yet",
            "there is no picture yet",
        ));
    };
    let stale = remaining.is_zero();
    let etag = format!("\"{}\"", picture.etag);
    let unchanged = names(&request, &etag);
    let mut response = Response::new(if unchanged {
        Body::empty()
    } else {
        Body::from(picture.bytes.clone())
    });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    if !unchanged {
        let content_type = HeaderValue::from_static(picture.kind.content_type());
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    headers.insert(header::ETAG, value(&etag));
    headers.insert(header::CACHE_CONTROL, value(&cache_control(remaining)));
    let freshness = if stale { "stale" } else { "fresh" };
    headers.insert(FRESHNESS, HeaderValue::from_static(freshness));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(response)
}

fn cache_control(remaining: Duration) -> String {
    match remaining.as_secs() {
        0 => "no-cache".to_owned(),
        seconds => format!("public, max-age={seconds}"),
    }
}

/// Whether `If-None-Match` names this etag, by the weak comparison of RFC 9110.
fn names(request: &HeaderMap, etag: &str) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim())
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("letters, digits and punctuation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match() {
        for (sent, matches) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, sent.parse().unwrap());
            assert_eq!(names(&headers, "\"a\""), matches, "{sent}");
        }
        assert!(!names(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn caches_keep_it_no_longer_than_this_service() {
        assert_eq!(
            cache_control(Duration::from_millis(9_900)),
            "public, max-age=9"
        );
        assert_eq!(cache_control(Duration::ZERO), "no-cache");
    }
}
