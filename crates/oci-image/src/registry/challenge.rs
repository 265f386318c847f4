//! `WWW-Authenticate`: how a registry wants to be logged in to (RFC 9110, section 11.6.1).

/// One way to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from a server.
    Bearer(Bearer),
}

/// Where tokens come from and what for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Bearer {
    /// Address of the token server.
    pub(super) realm: String,
    /// How the token server calls the registry.
    pub(super) service: Option<String>,
    /// What the request would have needed, separated by spaces.
    pub(super) scope: Option<String>,
}

/// The challenge to take: a token rather than a password. Schemes that are unknown are left out.
pub(super) fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut challenges: Vec<Challenge> = headers.into_iter().flat_map(parse).collect();
    let bearer = challenges
        .iter()
        .position(|challenge| matches!(challenge, Challenge::Bearer(_)));
    match (bearer, challenges.is_empty()) {
        (Some(index), _) => Some(challenges.swap_remove(index)),
        (None, false) => Some(challenges.swap_remove(0)),
        (None, true) => None,
    }
}

/// The challenges of one header, in which they and their parameters are both separated by commas.
fn parse(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in split(header) {
        let part = part.trim();
        let (scheme, parameter) = match part.split_once([' ', '\t']) {
            // `realm = "x"`: blanks round the equals sign
            Some((first, rest)) if !first.contains('=') && !rest.trim_start().starts_with('=') => {
                (Some(first), rest)
            }
            None if !part.contains('=') && !part.is_empty() => (Some(part), ""),
            _ => (None, part),
        };
        if let Some(scheme) = scheme {
            schemes.push((scheme.to_ascii_lowercase(), Vec::new()));
        }
        if let (Some((name, value)), Some((_, parameters))) =
            (parameter.split_once('='), schemes.last_mut())
        {
            parameters.push((name.trim().to_ascii_lowercase(), unquote(value.trim())));
        }
    }
    schemes
        .into_iter()
        .filter_map(|(scheme, parameters)| challenge(&scheme, parameters))
        .collect()
}

fn challenge(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            let mut bearer = Bearer::default();
            for (name, value) in parameters {
                match name.as_str() {
                    "realm" => bearer.realm = value,
                    "service" => bearer.service = Some(value),
                    "scope" => bearer.scope = Some(value),
                    _ => {}
                }
            }
            (!bearer.realm.is_empty()).then_some(Challenge::Bearer(bearer))
        }
        _ => None,
    }
}

/// Parts between commas that stand in no quotes.
pub(super) fn split(header: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    header.split(move |c| {
        let separates = c == ',' && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separates
    })
}

/// The value of `"a \"b\""`, or the text as it is.
pub(super) fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/redis:pull,push""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/redis:pull,push"),
                )],
            ),
            (
                r#"Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com""#,
                vec![Challenge::Basic],
            ),
            (
                r#"Basic realm="x", bearer Realm="https://r.io/t" , error="invalid_token",Negotiate"#,
                vec![Challenge::Basic, bearer("https://r.io/t", None, None)],
            ),
            ("Negotiate, Basic", vec![Challenge::Basic]),
            (
                r#"Bearer realm = "https://r.io/\"t\"", scope=a"#,
                vec![bearer("https://r.io/\"t\"", None, Some("a"))],
            ),
            (r#"Bearer service="x""#, vec![]),
            ("", vec![]),
            (",,=,", vec![]),
            (
                r#"Bearer realm="https://open"#,
                vec![bearer("https://open", None, None)],
            ),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_better_than_a_password() {
        let headers = [r#"Basic realm="x""#, r#"Bearer realm="https://r.io""#];
        assert_eq!(choose(headers), Some(bearer("https://r.io", None, None)));
        assert_eq!(choose(["Basic"]), Some(Challenge::Basic));
        assert_eq!(choose(["Digest nonce=1"]), None);
    }

    proptest! {
        #[test]
        fn no_header_panics(header in r#"[ -~,="\\]{0,60}"#) {
            let _ = parse(&header);
        }

        #[test]
        fn what_is_quoted_comes_back(text in r#"[ -~]{0,30}"#) {
            let quoted = format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
            prop_assert_eq!(unquote(&quoted), text);
            prop_assert_eq!(split(&quoted).count(), 1);
        }
    }
}
