//! Which entry of `auths` in Docker's configuration is for which repository. Docker writes `HOST` or
//! `https://HOST/v1/`, podman also `HOST/PATH` for what lies below a path.

use std::cmp::Reverse;

/// The name under which Docker keeps the login of its default registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The key under which Docker keeps the login of a registry, in the file and in helpers.
pub(super) fn docker_key(host: &str) -> &str {
    match host {
        "docker.io" => DOCKER_HUB,
        host => host,
    }
}

/// The registry of `place`, which is `HOST` or `HOST/REPOSITORY`.
pub(super) fn host_of(place: &str) -> &str {
    place.split('/').next().unwrap_or(place)
}

/// The key for a place, `HOST` or `HOST/REPOSITORY`: the longest path that it is at or below, else the one that Docker
/// writes for the host, else another of the host.
pub(super) fn nearest<'a>(keys: impl Iterator<Item = &'a str>, place: &str) -> Option<&'a str> {
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let rank = |key: &'a str| {
        let named = Named::by(key);
        let is_below = match path.strip_prefix(named.path) {
            Some(rest) => named.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        let fits = named.host == host && is_below;
        fits.then_some((named.path.len(), key == docker_key(host), Reverse(key)))
    };
    keys.filter_map(rank).max().map(|(_, _, Reverse(key))| key)
}

/// The part of a registry that shares the login for `place`: `HOST`, or `HOST/PATH` where a key names a path.
pub(super) fn account<'a>(keys: impl Iterator<Item = &'a str>, place: &str) -> String {
    let path = nearest(keys, place).map_or("", |key| Named::by(key).path);
    match (host_of(place), path) {
        (host, "") => host.to_owned(),
        (host, path) => format!("{host}/{path}"),
    }
}

/// What a key stands for.
struct Named<'a> {
    host: &'a str,
    /// Empty: the whole registry.
    path: &'a str,
}

impl<'a> Named<'a> {
    fn by(key: &'a str) -> Self {
        let (is_address, rest) = match key.split_once("://") {
            Some((_, rest)) => (true, rest),
            None => (false, key),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_end_matches('/');
        // The path of an address is that of the registry's API.
        let is_api = is_address || matches!(path, "v1" | "v2");
        Self {
            host: match host {
                "index.docker.io" | "registry-1.docker.io" => "docker.io",
                host => host,
            },
            path: if is_api { "" } else { path },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 9] = [
        "ghcr.io",
        "ghcr.io/team",
        "ghcr.io/team/inner/",
        "https://ghcr.io/v2/",
        "https://plain.example.com/v1/",
        "plain.example.com/other",
        "only.example.com/team",
        "docker.io/library",
        "https://index.docker.io/v1/",
    ];

    #[test]
    fn the_nearest_key_is_taken() {
        for (place, expected) in [
            ("ghcr.io", Some("ghcr.io")),
            ("ghcr.io/team", Some("ghcr.io/team")),
            ("ghcr.io/team/app", Some("ghcr.io/team")),
            ("ghcr.io/team/inner/app", Some("ghcr.io/team/inner/")),
            ("ghcr.io/team/innermost", Some("ghcr.io/team")),
            ("ghcr.io/teams/app", Some("ghcr.io")),
            ("ghcr.io/other-team/app", Some("ghcr.io")),
            ("plain.example.com", Some("https://plain.example.com/v1/")),
            (
                "plain.example.com/team",
                Some("https://plain.example.com/v1/"),
            ),
            ("only.example.com", None),
            ("only.example.com/other-team", None),
            ("only.example.com/team/app", Some("only.example.com/team")),
            ("docker.io/library/redis", Some("docker.io/library")),
            ("docker.io/jo/redis", Some("https://index.docker.io/v1/")),
            ("docker.io", Some("https://index.docker.io/v1/")),
            ("example.com", None),
        ] {
            assert_eq!(nearest(KEYS.into_iter(), place), expected, "{place}");
            let reversed = KEYS.into_iter().rev();
            assert_eq!(nearest(reversed, place), expected, "{place}");
        }
    }

    #[test]
    fn repositories_share_an_account() {
        for (place, expected) in [
            ("ghcr.io/team/app", "ghcr.io/team"),
            ("ghcr.io/team/inner/app", "ghcr.io/team/inner"),
            ("ghcr.io/other-team/app", "ghcr.io"),
            ("plain.example.com/team/app", "plain.example.com"),
            ("docker.io/jo/redis", "docker.io"),
            ("example.com/a/b", "example.com"),
        ] {
            assert_eq!(account(KEYS.into_iter(), place), expected);
        }
    }
}
