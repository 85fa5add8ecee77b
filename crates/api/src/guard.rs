//! Who may come in.
//!
//! Over TCP: programs of the owner, which can read the token. A browser that shows somebody's page can reach the port
//! as well, by its number or by a name that leads to 127.0.0.1; so the Host header must be a loopback name, and a
//! page of another origin is refused. Over the Unix socket, and inside the program: the owner, by construction.

use crate::dashboard::Dashboard;
use crate::problem::Problem;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use node::write_private;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use subtle::ConstantTimeEq;

/// Whom a router lets in.
#[derive(Clone)]
pub enum Guard {
    /// Whoever can call it: this program itself, or the same user over a Unix socket.
    Owner,
    /// Who shows the token, on this port of the loopback.
    Token {
        /// What has to be shown.
        token: Token,
        /// Where it listens.
        port: u16,
    },
    /// Besides, a browser that was let in: its cookie shows it. What is no API is for all.
    Browser {
        /// What programs have to show.
        token: Token,
        /// Which browsers were let in.
        dashboard: Dashboard,
        /// Where it listens.
        port: u16,
        /// Whether it speaks TLS to the local network; else it is a port of the loopback.
        secure: bool,
    },
}

/// 32 random bytes in hexadecimal digits.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Reads the token in this file, or makes one that only the owner may read.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn load(path: &Path) -> io::Result<Token> {
        match fs::read_to_string(path) {
            Ok(text) if is_token(text.trim()) => Ok(Token(text.trim().to_owned())),
            Ok(_) => Err(io::Error::new(
                ErrorKind::InvalidData,
                "it holds no token; remove it, and a new one is made",
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => make(path),
            Err(error) => Err(error),
        }
    }

    /// The digits.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Takes as long for a wrong token as for one that is almost right.
    fn is(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }
}

fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn make(path: &Path) -> io::Result<Token> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let token = hex::encode(bytes);
    write_private(path, token.as_bytes())?;
    Ok(Token(token))
}

/// Lets a request through, or says why not.
pub async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match &guard {
        Guard::Owner => next.run(request).await,
        Guard::Token { token, port } => match judge(request.headers(), token, *port) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        },
        Guard::Browser { token, dashboard, port, secure } => {
            let headers = request.headers();
            let is_api = request.uri().path().starts_with("/v1");
            let allowed = from_here(headers, *port, *secure).and_then(|()| {
                let known = || session_of(headers, *port, *secure);
                if !is_api || known().is_some_and(|shown| dashboard.sessions().knows(&shown)) {
                    return Ok(());
                }
                shows(headers, token)
            });
            match allowed {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            }
        }
    }
}

fn judge(headers: &HeaderMap, token: &Token, port: u16) -> Result<(), Problem> {
    from_here(headers, port, false)?;
    shows(headers, token)
}

/// Whether the request names this door, and comes from no page of another. On the local network a door is named by an
/// address: a name could be anybody's, and lead here all the same.
fn from_here(headers: &HeaderMap, port: u16, secure: bool) -> Result<(), Problem> {
    let forbidden = |code, detail: &str| Problem::new(StatusCode::FORBIDDEN, code, detail);
    let is_here = |authority: &str| {
        let loopback =
            ["127.0.0.1", "[::1]", "localhost"].iter().any(|name| authority == format!("{name}:{port}"));
        let on_lan = || {
            let named = authority.parse::<SocketAddr>().is_ok_and(|address| address.port() == port);
            named || authority == format!("sublet.local:{port}")
        };
        loopback || (secure && on_lan())
    };
    if !text(headers, &HOST).is_some_and(is_here) {
        return Err(forbidden("wrong_host", "the Host header does not name this port of the loopback"));
    }
    let scheme = if secure { "https://" } else { "http://" };
    // A page's own requests name the very door that it came from, and not another of this computer.
    let same = |origin: &str| {
        text(headers, &HOST).is_some_and(|host| host == origin) || (!secure && is_here(origin))
    };
    if headers.contains_key(ORIGIN)
        && !text(headers, &ORIGIN).and_then(|origin| origin.strip_prefix(scheme)).is_some_and(same)
    {
        return Err(forbidden("wrong_origin", "a page of another origin may not ask this node"));
    }
    Ok(())
}

fn shows(headers: &HeaderMap, token: &Token) -> Result<(), Problem> {
    let shown =
        text(headers, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if token.is(shown.as_bytes()) {
        return Ok(());
    }
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "no_token",
        "the Authorization header does not show this node's token",
    );
    Err(problem
        .hint("Send `Authorization: Bearer TOKEN`; the token is in the file `token` of the data directory."))
}

/// The name of the cookie. Cookies know no ports, so that two nodes of one computer need two names.
pub(crate) fn cookie_name(port: u16, secure: bool) -> String {
    if secure { "__Host-sublet".to_owned() } else { format!("sublet-{port}") }
}

/// What the cookie of this door shows.
pub(crate) fn session_of(headers: &HeaderMap, port: u16, secure: bool) -> Option<String> {
    let name = cookie_name(port, secure);
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, shown)| shown.to_owned())
}

/// A header that stands there once, as text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn refused(headers: &[(HeaderName, &str)]) -> Option<String> {
        let token = Token("ab".repeat(32));
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        judge(&headers, &token, 7391).err().map(|problem| problem.code)
    }

    #[test]
    fn only_who_shows_the_token_at_the_right_door_comes_in() {
        let bearer = format!("Bearer {}", "ab".repeat(32));
        let host = (HOST, "127.0.0.1:7391");
        let token = (AUTHORIZATION, bearer.as_str());
        assert_eq!(refused(&[host.clone(), token.clone()]), None);
        assert_eq!(refused(&[(HOST, "[::1]:7391"), token.clone()]), None);
        assert_eq!(refused(&[host.clone(), token.clone(), (ORIGIN, "http://localhost:7391")]), None);

        assert_eq!(refused(std::slice::from_ref(&host)).unwrap(), "no_token");
        assert_eq!(refused(&[host.clone(), (AUTHORIZATION, "Bearer ab")]).unwrap(), "no_token");
        assert_eq!(refused(&[host.clone(), (AUTHORIZATION, &bearer[7..])]).unwrap(), "no_token");
        for wrong in ["evil.example:7391", "127.0.0.1:80", "127.0.0.1", "127.0.0.1:7391.evil.example", ""] {
            assert_eq!(refused(&[(HOST, wrong), token.clone()]).unwrap(), "wrong_host", "{wrong}");
        }
        assert_eq!(refused(std::slice::from_ref(&token)).unwrap(), "wrong_host");
        for wrong in ["http://evil.example", "null", "https://127.0.0.1:7391", "http://127.0.0.1:7392"] {
            assert_eq!(
                refused(&[host.clone(), token.clone(), (ORIGIN, wrong)]).unwrap(),
                "wrong_origin",
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_token_is_made_once_and_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let one = Token::load(&path).unwrap();
        assert_eq!(one.reveal(), Token::load(&path).unwrap().reveal());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(one.reveal(), Token::load(&dir.path().join("other")).unwrap().reveal());
        fs::write(&path, "what").unwrap();
        assert!(Token::load(&path).is_err());
    }
}
