//! The OCI distribution protocol, as far as fetching needs it. Registries are strangers that a tenant chose: what they
//! send is limited in size and time, and a password goes only where the protocol asks for it over TLS.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, RANGE, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::document::{MANIFEST_TYPES, MAX_DOCUMENT};
use super::reference::Reference;
use super::{Auth, Digest, ImageError};
use crate::http::{self, SILENCE};

/// A document of at most 4 MiB takes no longer than this, or is not worth it.
const DOCUMENT: Duration = Duration::from_secs(60);
/// The largest answer of a token server in bytes. Real tokens have 2 to 8 KiB.
const MAX_TOKEN: u64 = 256 << 10;

/// One repository at one registry, and who asks.
pub(super) struct Registry {
    http: Client,
    reference: Reference,
    auth: Auth,
    /// The value of the `Authorization` header, once the registry has said which kind it wants.
    authorization: Mutex<Option<String>>,
}

/// The rest of a blob.
pub(super) struct Rest {
    pub(super) body: Response,
    /// False when the registry sends all of it, whatever was asked for.
    pub(super) from_offset: bool,
}

impl Registry {
    pub(super) fn new(reference: Reference, auth: Auth) -> Result<Registry, ImageError> {
        let secure = !is_loopback(reference.host());
        let builder = http::client(move |url| match url.scheme() {
            "https" => Ok(()),
            _ if !secure => Ok(()),
            _ => Err("a redirect away from TLS".to_owned()),
        });
        // A proxy cannot reach this machine's loopback.
        let builder = if secure { builder } else { builder.no_proxy() };
        let registry = reference.host().to_owned();
        let http = builder.build().map_err(|source| ImageError::Unreachable { registry, source })?;
        Ok(Registry::with(http, reference, auth))
    }

    /// By a client that knows what may be asked.
    pub(super) fn with(http: Client, reference: Reference, auth: Auth) -> Registry {
        Registry { http, reference, auth, authorization: Mutex::new(None) }
    }

    /// A manifest or index, by tag or digest. The caller compares digests.
    pub(super) async fn manifest(&self, tag_or_digest: &str) -> Result<Vec<u8>, ImageError> {
        let url = self.url(&format!("manifests/{tag_or_digest}"));
        let fetch = async {
            let response = self.get(&url, 0).await?;
            match response.status() {
                StatusCode::OK => self.read(response, MAX_DOCUMENT, "the image's manifest (bytes)").await,
                StatusCode::NOT_FOUND => {
                    Err(ImageError::UnknownImage { reference: self.reference.to_string() })
                }
                status => Err(self.unexpected(status, url.clone())),
            }
        };
        tokio::time::timeout(DOCUMENT, fetch).await.unwrap_or_else(|_| Err(self.silent(DOCUMENT)))
    }

    /// A blob from `offset` on. `None`: the registry has no more than that.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Option<Rest>, ImageError> {
        let url = self.url(&format!("blobs/{digest}"));
        let body = self.get(&url, offset).await?;
        match body.status() {
            StatusCode::OK => Ok(Some(Rest { body, from_offset: offset == 0 })),
            StatusCode::PARTIAL_CONTENT => Ok(Some(Rest { body, from_offset: true })),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            status => Err(self.unexpected(status, url)),
        }
    }

    /// Just these bytes of a blob.
    pub(super) async fn range(
        &self,
        digest: &Digest,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, ImageError> {
        let Some(mut rest) = self.blob(digest, offset).await? else { return Ok(Vec::new()) };
        if !rest.from_offset {
            return Err(ImageError::Unsupported {
                what: "a registry without ranges",
                found: self.registry(),
            });
        }
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length
            && let Some(chunk) = self.chunk(&mut rest.body).await?
        {
            let more = chunk.len().min(length - bytes.len());
            bytes.extend_from_slice(&chunk[..more]);
        }
        Ok(bytes)
    }

    /// The next bytes of a body; none at its end.
    pub(super) async fn chunk(&self, body: &mut Response) -> Result<Option<bytes::Bytes>, ImageError> {
        body.chunk().await.map_err(|error| self.broken(error))
    }

    fn url(&self, rest: &str) -> String {
        let registry = self.reference.host();
        let scheme = if is_loopback(registry) { "http" } else { "https" };
        format!("{scheme}://{registry}/v2/{}/{rest}", self.reference.repository())
    }

    /// Asks, and if the registry wants to know who, asks again with what it wants.
    async fn get(&self, url: &str, offset: u64) -> Result<Response, ImageError> {
        let first = self.ask(url, offset).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return self.permitted(first);
        }
        let authorization = self.authorize(first.headers()).await?;
        *self.authorization.lock().await = Some(authorization);
        self.permitted(self.ask(url, offset).await?)
    }

    async fn ask(&self, url: &str, offset: u64) -> Result<Response, ImageError> {
        let mut request = self.http.get(url).header(ACCEPT, MANIFEST_TYPES);
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        if let Some(authorization) = &*self.authorization.lock().await {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|error| self.broken(error))
    }

    fn permitted(&self, response: Response) -> Result<Response, ImageError> {
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.denied()),
            _ => Ok(response),
        }
    }

    /// What to put into the `Authorization` header, by the registry's challenge.
    async fn authorize(&self, headers: &HeaderMap) -> Result<String, ImageError> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        for challenge in challenges {
            if let Some(parameters) = scheme(challenge, "Bearer") {
                return self.fetch_token(parameters).await;
            }
            if scheme(challenge, "Basic").is_some()
                && let Some(basic) = self.basic()
            {
                return Ok(basic);
            }
        }
        Err(self.denied())
    }

    async fn fetch_token(&self, parameters: &str) -> Result<String, ImageError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut url = parameter(parameters, "realm")
            .and_then(|realm| Url::parse(&realm).ok())
            .ok_or_else(|| self.denied())?;
        let safe = url.scheme() == "https" || is_loopback(self.reference.host());
        if !safe {
            return Err(self.denied());
        }
        url.query_pairs_mut()
            .extend_pairs(parameter(parameters, "service").map(|service| ("service", service)))
            .append_pair("scope", &format!("repository:{}:pull", self.reference.repository()));
        let mut request = self.http.get(url.clone());
        if let Some(basic) = self.basic() {
            request = request.header(AUTHORIZATION, basic);
        }
        let fetch = async {
            let response = self.permitted(request.send().await.map_err(|error| self.broken(error))?)?;
            if response.status() != StatusCode::OK {
                return Err(self.unexpected(response.status(), url.to_string()));
            }
            self.read(response, MAX_TOKEN, "the registry's token (bytes)").await
        };
        let answer =
            tokio::time::timeout(DOCUMENT, fetch).await.unwrap_or_else(|_| Err(self.silent(DOCUMENT)))?;
        let token: Token = serde_json::from_slice(&answer)
            .map_err(|error| ImageError::malformed("the registry's token", error))?;
        let token = token.token.or(token.access_token).ok_or_else(|| self.denied())?;
        Ok(format!("Bearer {token}"))
    }

    fn basic(&self) -> Option<String> {
        match &self.auth {
            Auth::Anonymous => None,
            Auth::Basic { user, password } => {
                Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))
            }
        }
    }

    async fn read(&self, mut body: Response, limit: u64, what: &'static str) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut body).await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(ImageError::TooLarge { what, limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn broken(&self, source: reqwest::Error) -> ImageError {
        if source.is_timeout() && !source.is_connect() {
            return self.silent(SILENCE);
        }
        ImageError::Unreachable { registry: self.registry(), source }
    }

    fn silent(&self, limit: Duration) -> ImageError {
        ImageError::Silent { registry: self.registry(), seconds: limit.as_secs() }
    }

    fn denied(&self) -> ImageError {
        ImageError::Denied { registry: self.registry(), reference: self.reference.to_string() }
    }

    fn unexpected(&self, status: StatusCode, url: String) -> ImageError {
        ImageError::Registry { registry: self.registry(), status: status.as_u16(), url }
    }

    fn registry(&self) -> String {
        self.reference.registry().to_owned()
    }
}

/// Whether a registry is on this machine, where nobody can listen to plain HTTP.
pub(super) fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => host,
        Some(_) | None => registry,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The parameters of a challenge of this scheme.
fn scheme<'a>(challenge: &'a str, wanted: &str) -> Option<&'a str> {
    let (scheme, parameters) = challenge.trim().split_once(' ').unwrap_or((challenge.trim(), ""));
    scheme.eq_ignore_ascii_case(wanted).then_some(parameters)
}

/// One parameter of a challenge: `realm="https://auth.example/token",service="registry"`.
fn parameter(mut parameters: &str, wanted: &str) -> Option<String> {
    loop {
        let (name, rest) = parameters.split_once('=')?;
        let name = name.trim_matches([' ', ',']);
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.trim().to_owned());
        }
        parameters = rest;
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |group: u32, place: u32| char::from(DIGITS[(group >> (18 - 6 * place)) as usize & 63]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(digit(group, 0));
        text.push(digit(group, 1));
        text.push(if chunk.len() > 1 { digit(group, 2) } else { '=' });
        text.push(if chunk.len() > 2 { digit(group, 3) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_understood() {
        let hub =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b,c:pull""#;
        let parameters = scheme(hub, "bearer").expect("it is one");
        assert_eq!(parameter(parameters, "realm").as_deref(), Some("https://auth.docker.io/token"));
        assert_eq!(parameter(parameters, "service").as_deref(), Some("registry.docker.io"));
        assert_eq!(parameter(parameters, "scope").as_deref(), Some("a:b,c:pull"));
        assert_eq!(parameter("realm=x, service=y", "service").as_deref(), Some("y"));
        assert_eq!(parameter(parameters, "nothing"), None);
        for broken in ["", "=", "realm=\"x", ",,,", "realm"] {
            assert_eq!(parameter(broken, "service"), None, "{broken}");
        }
    }

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for here in ["[::1]", "localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["docker.io", "10.0.0.1:5000", "localhost.example:5000", "127.0.0.1.example"] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn base64_is_as_the_standard_says() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
