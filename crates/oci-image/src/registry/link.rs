//! Headers that say where to go on: `Location`, `Link`, `Range`, `Content-Range`.

use reqwest::Url;

use super::challenge::{split, unquote};

/// Where `location` leads from `base`: relative or absolute, the query kept. A proxy that ends TLS without telling
/// the registry makes it write `http` for its own host; that stays `https`.
pub(super) fn resolve(base: &Url, location: &str) -> Option<Url> {
    let mut url = base.join(location.trim()).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    let same_port = url.port().is_none() || url.port() == base.port();
    let downgraded = base.scheme() == "https" && url.scheme() == "http";
    if downgraded && url.host_str() == base.host_str() && same_port {
        url.set_scheme("https").ok()?;
        url.set_port(base.port()).ok()?;
    }
    // A name and password in an address would be sent along.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_fragment(None);
    Some(url)
}

/// Whether both lead to the same server.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// The target of `rel="next"` in a `Link` header (RFC 8288).
pub(super) fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some((_, link)) = rest.split_once('<') {
        let (target, link) = link.split_once('>')?;
        let parameters = split(link).next().unwrap_or_default();
        if parameters.split(';').any(is_next) {
            return Some(target);
        }
        rest = &link[parameters.len()..];
    }
    None
}

/// Whether it is `rel="next"`, perhaps among other relations.
fn is_next(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("rel")
            && unquote(value.trim())
                .split(' ')
                .any(|word| word.eq_ignore_ascii_case("next"))
    })
}

/// How many bytes an upload has, from the `Range` of its status: `0-99` is 100. `0-0` is what Docker's registry
/// writes for none at all, and an upload of a single byte loses nothing by starting anew.
pub(super) fn uploaded(range: &str) -> Option<u64> {
    let range = range.trim();
    let (start, end) = range
        .strip_prefix("bytes=")
        .unwrap_or(range)
        .split_once('-')?;
    match (start.parse().ok()?, end.parse().ok()?) {
        (0_u64, 0_u64) => Some(0),
        (0, end) => end.checked_add(1),
        _ => None,
    }
}

/// The first byte of a partial answer: `bytes 100-199/200` starts at 100.
pub(super) fn content_start(content_range: &str) -> Option<u64> {
    let range = content_range.trim().strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn locations_are_resolved() {
        let base = url("https://r.io:8443/v2/a/blobs/uploads/");
        for (location, expected) in [
            (
                "/v2/a/blobs/uploads/7?_state=x%3D%3D&b",
                Some("https://r.io:8443/v2/a/blobs/uploads/7?_state=x%3D%3D&b"),
            ),
            ("7?s=1", Some("https://r.io:8443/v2/a/blobs/uploads/7?s=1")),
            ("https://s3.io/x?sig=1#f", Some("https://s3.io/x?sig=1")),
            ("http://r.io/v2/u", Some("https://r.io:8443/v2/u")),
            ("http://r.io:8443/v2/u", Some("https://r.io:8443/v2/u")),
            ("http://r.io:81/v2/u", Some("http://r.io:81/v2/u")),
            ("http://other.io/v2/u", Some("http://other.io/v2/u")),
            ("//other.io/u", Some("https://other.io/u")),
            ("https://jo:pw@r.io/u", Some("https://r.io/u")),
            ("ftp://r.io/u", None),
            ("data:x", None),
            ("http://", None),
        ] {
            assert_eq!(resolve(&base, location), expected.map(url), "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let one = url("https://r.io/a");
        assert!(same_origin(&one, &url("https://r.io:443/b?c")));
        for other in ["http://r.io/a", "https://r.io:444/a", "https://x.r.io/a"] {
            assert!(!same_origin(&one, &url(other)), "{other}");
        }
    }

    #[test]
    fn the_next_page_is_found() {
        for (header, expected) in [
            (
                r#"</v2/a?last=b&n=2>; rel="next""#,
                Some("/v2/a?last=b&n=2"),
            ),
            (
                r#"</x>; rel=prev, </y,z>; title="a,<b"; rel="last NEXT""#,
                Some("/y,z"),
            ),
            ("</x; rel=next", None),
            ("</x>", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), expected, "{header}");
        }
    }

    #[test]
    fn ranges_are_read() {
        for (text, expected) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("0-0", Some(0)),
            ("5-9", None),
            ("0--1", None),
            ("0-18446744073709551615", None),
            ("", None),
        ] {
            assert_eq!(uploaded(text), expected, "{text}");
        }
        assert_eq!(content_start("bytes 100-199/200"), Some(100));
        assert_eq!(content_start("bytes */200"), None);
        assert_eq!(content_start("100-199/200"), None);
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[ -~]{0,60}") {
            let _ = (next_link(&text), uploaded(&text), content_start(&text));
            if let Some(found) = resolve(&url("https://r.io/v2/"), &text) {
                prop_assert!(found.username().is_empty() && found.password().is_none());
            }
        }

        #[test]
        fn a_path_and_its_query_stay_on_the_host(path in "/[a-z0-9/._-]{0,20}", query in "[a-z0-9=&%]{1,20}") {
            prop_assume!(!path.starts_with("//"));
            let base = url("https://r.io:5000/v2/a/");
            let found = resolve(&base, &format!("{path}?{query}")).unwrap();
            prop_assert!(same_origin(&found, &base));
            prop_assert_eq!(found.query(), Some(query.as_str()));
        }

        #[test]
        fn an_offset_comes_back(offset in 2_u64..u64::MAX) {
            prop_assert_eq!(uploaded(&format!("0-{}", offset - 1)), Some(offset));
        }
    }
}
