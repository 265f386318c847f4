//! `GET /picture`.

use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use service_kit::Problem;

use crate::State;
use crate::album::{Freshness, Served};

/// Whether the picture is `fresh`, of the `grace` in which the old one is served once, or `stale` because no newer one
/// can be had.
const FRESHNESS: HeaderName = HeaderName::from_static("x-picture");
/// Whatever a backend sends: opened by itself, it may do nothing.
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
                ("X-Picture" = String, description = "`fresh`, `grace` (the old one, once, while the next is on its way) or `stale`")
            )
        ),
        (status = NOT_MODIFIED, description = "it is the one that `If-None-Match` names"),
        (status = SERVICE_UNAVAILABLE, description = "`no-picture-yet`")
    )
)]
pub(crate) async fn serve(
    Shared(state): Shared<State>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Some(Served { picture, freshness }) = state.album.get().await else {
        return Err(Problem::unavailable(
            "no-picture-yet",
            "there is no picture yet",
        ));
    };
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
    headers.insert(header::CACHE_CONTROL, value(&cache_control(freshness)));
    headers.insert(FRESHNESS, HeaderValue::from_static(word(freshness)));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(response)
}

fn cache_control(freshness: Freshness) -> String {
    match freshness {
        Freshness::Fresh(remaining) if remaining.as_secs() > 0 => {
            format!("public, max-age={}", remaining.as_secs())
        }
        Freshness::Fresh(_) | Freshness::Grace | Freshness::Stale => "no-cache".to_owned(),
    }
}

fn word(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Fresh(_) => "fresh",
        Freshness::Grace => "grace",
        Freshness::Stale => "stale",
    }
}

/// Whether `If-None-Match` names this etag, by the weak comparison of RFC 9110.
pub fn names(request: &HeaderMap, etag: &str) -> bool {
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
    use std::time::Duration;

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
            cache_control(Freshness::Fresh(Duration::from_millis(9_900))),
            "public, max-age=9"
        );
        for short in [
            Freshness::Fresh(Duration::from_millis(900)),
            Freshness::Grace,
            Freshness::Stale,
        ] {
            assert_eq!(cache_control(short), "no-cache", "{short:?}");
        }
    }
}
