//! Who may ask: whoever knows the link, from the page itself. A browser lends its owner's access to every page that it
//! shows, so what comes from another page, or under another name than this machine's own, is refused.
//!
//! The token is in the path and in no cookie: browsers send cookies to every port of a host, also to those of others.

use std::sync::Mutex;

use anyhow::{Context, Result};
use axum::http::HeaderMap;
use axum::http::request::Parts;

/// Knows the link, and a second one that is good for one use.
#[derive(Debug)]
pub struct Guard {
    port: u16,
    token: Secret,
    one_time: Mutex<Option<Secret>>,
}

/// Who was let in.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted {
    /// One who knows the token.
    Known,
    /// One who had the link for one use, and is to be told the token.
    Once,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this page is served as 127.0.0.1 and localhost alone")]
    Host,
    #[error(
        "this page is served on port {own}, but was asked for on port {asked}; through a tunnel both must be the same: \
         ssh -L {own}:127.0.0.1:{own} HOST, or start it with: query --web --port {asked}"
    )]
    Port { own: u16, asked: u16 },
    #[error("another page asks; open the link by putting it into the address bar")]
    Origin,
    #[error("this link is not the one that query --web printed, or was good only once")]
    Token,
}

impl Guard {
    /// A guard with secrets of its own for a page on `port`.
    pub fn new(port: u16) -> Result<Self> {
        Ok(Self { port, token: Secret::new()?, one_time: Mutex::new(Some(Secret::new()?)) })
    }

    /// The page's address.
    pub fn link(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.home())
    }

    /// The page's path, to which all others are relative.
    pub fn home(&self) -> String {
        format!("/{}/", self.token.0)
    }

    /// An address that leads to the page once.
    pub fn one_time_link(&self) -> String {
        let secret = self.one_time.lock().expect("nothing panics in it");
        let secret = secret.as_ref().map_or("", |secret| &secret.0);
        format!("http://127.0.0.1:{}/{secret}", self.port)
    }

    /// Why a request under this name is refused. A tunnel whose ends have two ports is an honest mistake.
    fn wrong_host(&self, host: &str) -> Refused {
        match port_here(host).filter(|asked| *asked != self.port) {
            Some(asked) => Refused::Port { own: self.port, asked },
            None => Refused::Host,
        }
    }

    /// Lets a request in, or says why not.
    pub fn check(&self, request: &Parts) -> Result<Admitted, Refused> {
        let host = only(&request.headers, "host").ok_or(Refused::Host)?.unwrap_or_default();
        let named = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", self.port));
        // A target with a host of its own would be one that a proxy is asked for.
        if request.uri.authority().is_some() || !named.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            return Err(self.wrong_host(host));
        }
        let origin = only(&request.headers, "origin").ok_or(Refused::Origin)?;
        let site = only(&request.headers, "sec-fetch-site").ok_or(Refused::Origin)?;
        if origin.is_some_and(|origin| !origin.eq_ignore_ascii_case(&format!("http://{host}")))
            || site.is_some_and(|site| !["same-origin", "none"].contains(&site))
        {
            return Err(Refused::Origin);
        }
        let given = request.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
        if self.token.is(given) {
            return Ok(Admitted::Known);
        }
        let mut one_time = self.one_time.lock().expect("nothing panics in it");
        match one_time.take_if(|secret| secret.is(given)) {
            Some(_) => Ok(Admitted::Once),
            None => Err(Refused::Token),
        }
    }
}

/// The port of this machine that a `Host` names.
fn port_here(host: &str) -> Option<u16> {
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let is_here = ["127.0.0.1", "localhost"].iter().any(|here| here.eq_ignore_ascii_case(name));
    port.parse().ok().filter(|_| is_here)
}

/// A header's value, which may be absent. `None` if it is there twice or is no text.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str()).transpose().ok()?;
    values.next().is_none().then_some(first)
}

/// 128 random bits as 32 hexadecimal digits.
struct Secret(String);

impl Secret {
    fn new() -> Result<Self> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).context("the system gives no random bits")?;
        Ok(Self(format!("{:032x}", u128::from_ne_bytes(bits))))
    }

    /// Compares in a time that tells nothing of where they differ.
    fn is(&self, given: &str) -> bool {
        given.len() == self.0.len() && self.0.bytes().zip(given.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn check(guard: &Guard, target: &str, headers: &[(&str, &str)]) -> Result<Admitted, Refused> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard.check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn who_knows_the_link_is_let_in_under_both_names_of_this_machine() {
        let guard = Guard::new(8080).unwrap();
        let search = format!("{}search", guard.home());
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080"] {
            let origin = format!("http://{host}");
            for headers in [
                &[("host", host)][..],
                &[("host", host), ("sec-fetch-site", "none")],
                &[("host", host), ("origin", &origin), ("sec-fetch-site", "same-origin")],
            ] {
                assert_eq!(check(&guard, &search, headers), Ok(Admitted::Known), "{headers:?}");
            }
        }
        assert_eq!(guard.link(), format!("http://127.0.0.1:8080{}", guard.home()));
    }

    #[test]
    fn a_token_is_128_bits_and_another_one_each_time() {
        let [one, other] = [Guard::new(1).unwrap(), Guard::new(1).unwrap()];
        assert_eq!(one.home().trim_matches('/').len(), 32);
        assert_ne!(one.home(), other.home());
        assert!(!format!("{one:?}").contains(one.home().trim_matches('/')));
    }

    #[test]
    fn without_the_token_nothing_is_answered() {
        let guard = Guard::new(8080).unwrap();
        let token = guard.home().trim_matches('/').to_owned();
        let almost = format!("{}{}", &token[..31], if token.ends_with('0') { '1' } else { '0' });
        let upper = if token.to_uppercase() == token { String::new() } else { token.to_uppercase() };
        for path in ["", "search", &token[..31], &almost, &upper, &format!("{token}0"), &format!("x/{token}")] {
            let got = check(&guard, &format!("/{path}"), &[("host", "127.0.0.1:8080")]);
            assert_eq!(got, Err(Refused::Token), "{path}");
        }
        assert_eq!(check(&guard, &format!("/?{token}"), &[("host", "127.0.0.1:8080")]), Err(Refused::Token));
    }

    #[test]
    fn another_host_is_refused_however_it_is_named() {
        let guard = Guard::new(8080).unwrap();
        for host in ["evil.example:8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:8080.evil.example", "[::1]:8080", ""]
        {
            assert_eq!(check(&guard, &guard.home(), &[("host", host)]), Err(Refused::Host), "{host}");
        }
        for (host, asked) in [("127.0.0.1", 80), ("127.0.0.1:81", 81), ("LocalHost:9090", 9090)] {
            let got = check(&guard, &guard.home(), &[("host", host)]);
            assert_eq!(got, Err(Refused::Port { own: 8080, asked }), "{host}");
        }
        assert_eq!(check(&guard, &guard.home(), &[]), Err(Refused::Host));
        let twice = [("host", "127.0.0.1:8080"), ("host", "127.0.0.1:8080")];
        assert_eq!(check(&guard, &guard.home(), &twice), Err(Refused::Host));
        let absolute = format!("http://127.0.0.1:8080{}", guard.home());
        assert_eq!(check(&guard, &absolute, &[("host", "127.0.0.1:8080")]), Err(Refused::Host));
    }

    #[test]
    fn another_origin_is_refused_even_with_the_token() {
        let guard = Guard::new(8080).unwrap();
        for header in [
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:8081"),
            ("origin", "http://localhost:8080"),
            ("origin", "https://127.0.0.1:8080"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let got = check(&guard, &guard.home(), &[("host", "127.0.0.1:8080"), header]);
            assert_eq!(got, Err(Refused::Origin), "{header:?}");
        }
        let twice = [("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080"), ("origin", "null")];
        assert_eq!(check(&guard, &guard.home(), &twice), Err(Refused::Origin));
    }

    #[test]
    fn the_link_that_others_may_see_is_good_once() {
        let guard = Guard::new(8080).unwrap();
        let link = guard.one_time_link();
        let path = link.strip_prefix("http://127.0.0.1:8080").unwrap();
        let foreign = [("host", "127.0.0.1:8080"), ("sec-fetch-site", "cross-site")];
        assert_eq!(check(&guard, path, &foreign), Err(Refused::Origin));
        assert_eq!(check(&guard, path, &[("host", "127.0.0.1:8080")]), Ok(Admitted::Once));
        assert_eq!(check(&guard, path, &[("host", "127.0.0.1:8080")]), Err(Refused::Token));
        assert_eq!(check(&guard, "/", &[("host", "127.0.0.1:8080")]), Err(Refused::Token));
    }
}
