//! `GET /`.

use axum::extract::State as Shared;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, header};

use crate::State;

/// Nothing but this page's own picture and style.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; img-src 'self'; style-src 'unsafe-inline'");

/// The page: greeting, picture, build information.
#[utoipa::path(
    get, path = "/",
    responses((status = OK, body = String, content_type = "text/html"))
)]
pub(crate) async fn show(Shared(state): Shared<State>) -> Response {
    let about = &state.about;
    let page = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{greeting}</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ max-width: 100%; border-radius: 0.5rem; }}
footer {{ color: #666; font-size: 0.875rem; }}
</style>
</head>
<body>
<h1>{greeting}</h1>
<img src="/picture" alt="The picture of the moment">
<footer>{name} {version}, commit {commit}, built {built} ({profile}, {target})</footer>
</body>
</html>
"#,
        greeting = escape(&state.greeting),
        name = escape(about.name),
        version = escape(about.version),
        commit = escape(about.commit.unwrap_or("unknown")),
        built = escape(about.built_at.unwrap_or("at an unknown time")),
        profile = escape(about.profile),
        target = escape(&about.target),
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, Html(page)).into_response()
}

/// For text and for quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(
            escape(r#"<a href="x">&'</a>"#),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;"
        );
    }
}
