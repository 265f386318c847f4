//! Who asks, and how often one may: the address of a client, also behind proxies, and a limit for each.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use http::StatusCode;
use http::request::Parts;
use tokio::time::sleep;

use crate::lifecycle::Lifecycle;
use crate::problem::Problem;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// How often clients are forgotten that could ask as much as they are allowed to.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// The address that a request comes from, as far as it can be known: that of the connection, or, behind
/// `TRUSTED_PROXIES` proxies, what the first of them saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// How often each client may ask. Clones share the count. A client is an IPv4 address, or an IPv6 network of 64 bits:
/// who has one of its addresses has them all.
#[derive(Clone)]
pub struct RateLimit {
    limiter: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    clock: DefaultClock,
}

impl ClientAddress {
    /// The address of who sent a request, behind this many proxies. Each adds, at the end, the address that it was
    /// asked from; what stands before is the client's own claim.
    pub fn of(request: &Request, proxies: usize) -> Self {
        let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
        if proxies == 0 {
            return Self(peer);
        }
        let values = request.headers().get_all(FORWARDED_FOR).iter();
        let seen: Vec<&str> = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        let first = seen.len().checked_sub(proxies).and_then(|at| seen.get(at));
        Self(first.and_then(|text| text.parse().ok()).unwrap_or(peer))
    }
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().copied();
        Ok(known.unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

impl RateLimit {
    /// `per_second` on average, and twice as many at once.
    pub fn new(per_second: NonZeroU32, lifecycle: &Lifecycle) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limit = Self {
            limiter: Arc::new(DefaultKeyedRateLimiter::keyed(quota)),
            clock: DefaultClock::default(),
        };
        let (limiter, stopping) = (Arc::clone(&limit.limiter), lifecycle.stopping());
        lifecycle.spawn(async move {
            while stopping
                .run_until_cancelled(sleep(FORGET_EVERY))
                .await
                .is_some()
            {
                limiter.retain_recent();
            }
        });
        limit
    }

    /// Counts a request of `client`.
    ///
    /// # Errors
    /// 429 with `Retry-After` for one that asks too often.
    pub fn check(&self, client: ClientAddress) -> Result<(), Problem> {
        self.limiter
            .check_key(&network(client.0))
            .map_err(|refused| {
                let wait = refused.wait_time_from(self.clock.now());
                let status = StatusCode::TOO_MANY_REQUESTS;
                Problem::new(status, "too-many-requests", "this client asks too often")
                    .retry_after(wait)
            })
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").finish_non_exhaustive()
    }
}

/// What counts as one client.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn client(forwarded: &[&str], proxies: usize) -> String {
        let mut request = Request::builder();
        for value in forwarded {
            request = request.header(FORWARDED_FOR, *value);
        }
        let peer: SocketAddr = "10.0.0.1:99".parse().unwrap();
        let request = request
            .extension(ConnectInfo(peer))
            .body(Body::empty())
            .unwrap();
        ClientAddress::of(&request, proxies).0.to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (forwarded, proxies, expected) in [
            (&[][..], 0, "10.0.0.1"),
            (&["1.2.3.4"], 0, "10.0.0.1"),
            (&["1.2.3.4"], 1, "1.2.3.4"),
            (&["6.6.6.6, 1.2.3.4"], 1, "1.2.3.4"),
            (&["6.6.6.6", "1.2.3.4"], 1, "1.2.3.4"),
            (&["6.6.6.6, 1.2.3.4, 10.0.0.7"], 2, "1.2.3.4"),
            (&["1.2.3.4"], 2, "10.0.0.1"),
            (&["nonsense"], 1, "10.0.0.1"),
            (&[], 1, "10.0.0.1"),
            (&["::1"], 1, "::1"),
        ] {
            assert_eq!(
                client(forwarded, proxies),
                expected,
                "{forwarded:?} {proxies}"
            );
        }
    }

    #[tokio::test]
    async fn a_client_that_asks_too_often_waits_and_others_do_not() {
        let lifecycle = Lifecycle::default();
        let limit = RateLimit::new(NonZeroU32::new(5).unwrap(), &lifecycle);
        let address = |text: &str| ClientAddress(text.parse().unwrap());
        let allowed = (0..100)
            .filter(|_| limit.check(address("10.0.0.1")).is_ok())
            .count();
        // What a fast machine gets through before the next fifth of a second.
        assert!((10..=11).contains(&allowed), "{allowed}");
        let refused = limit.check(address("10.0.0.1")).unwrap_err();
        assert_eq!(refused.status(), 429);
        assert!(limit.check(address("10.0.0.2")).is_ok());
        lifecycle.stop().await;
    }

    #[test]
    fn the_addresses_of_a_network_are_one_client() {
        for (address, client) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
            ("2001:db8:1:3::6", "2001:db8:1:3::"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(network(address).to_string(), client, "{address}");
        }
    }
}
