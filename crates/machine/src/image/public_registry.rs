//! A registry that a tenant names, as one source of pieces: only where the owner allows it, and only one on the public
//! internet, over TLS on its usual port. A name that leads into the owner's network is refused when it has been resolved, at
//! each connection and after each redirect, so that no tenant looks around there through us.

use std::net::{IpAddr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::reference::Reference;
use super::registry::Registry;
use super::{Auth, Digest, ImageError};
use crate::http;
use crate::network::public;

/// Which registries may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those on the public internet.
    Public,
    /// Any: for tests with one on this machine.
    Any,
}

/// One repository at one registry.
pub struct RegistrySource(Registry);

impl RegistrySource {
    /// Prepares to ask the registry of a reference. Nothing is asked yet.
    ///
    /// # Errors
    /// `BadReference`, and `NotPublic` for one that is not to be asked.
    pub fn new(reference: &str, reach: Reach) -> Result<RegistrySource, ImageError> {
        let parsed: Reference = reference.parse()?;
        if reach == Reach::Any {
            return Registry::new(parsed, Auth::Anonymous).map(RegistrySource);
        }
        let refused = |why: String| ImageError::NotPublic { registry: parsed.host().to_owned(), why };
        let url =
            Url::parse(&format!("https://{}/", parsed.host())).map_err(|error| refused(error.to_string()))?;
        may_be_asked(&url).map_err(refused)?;
        let http = http::client(may_be_asked)
            .no_proxy() // a proxy would resolve names for us, and see what we must not
            .dns_resolver(PublicOnly)
            .build()
            .map_err(|source| ImageError::Unreachable { registry: parsed.host().to_owned(), source })?;
        Ok(RegistrySource(Registry::with(http, parsed, Auth::Anonymous)))
    }

    /// Some bytes of a blob. `is_manifest`: registries keep those elsewhere.
    ///
    /// # Errors
    /// `Unreachable`, `Silent`, `Denied`, `Registry`, `UnknownImage`; `Unsupported` when the registry sends no parts of blobs.
    pub async fn bytes(
        &self,
        blob: &Digest,
        is_manifest: bool,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, ImageError> {
        if is_manifest {
            let bytes = self.0.manifest(&blob.to_string()).await?;
            let begin = usize::try_from(offset).unwrap_or(usize::MAX);
            return Ok(bytes.get(begin..).unwrap_or_default().iter().copied().take(length).collect());
        }
        self.0.range(blob, offset, length).await
    }
}

fn may_be_asked(url: &Url) -> Result<(), String> {
    if url.scheme() != "https" || url.port_or_known_default() != Some(443) {
        return Err("only TLS on port 443 is used".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    match literal {
        Some(ip) => public(ip).map_err(|error| error.to_string()),
        None if host.is_empty() || host == "localhost" || host.ends_with(".localhost") => {
            Err("it is this computer".to_owned())
        }
        None => Ok(()),
    }
}

/// Resolves names, and forgets the addresses that are not public.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let usable: Vec<SocketAddr> = found.filter(|found| public(found.ip()).is_ok()).collect();
            if usable.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_asked() {
        for refused in [
            "127.0.0.1:5000/app:1",
            "localhost:443/app:1",
            "10.1.2.3/app:1",
            "169.254.169.254/latest:1",
            "[::1]:443/app:1",
            "192.168.1.1:443/app:1",
            "registry.example:8443/app:1",
        ] {
            let made = RegistrySource::new(refused, Reach::Public).map(|_| ());
            assert!(
                matches!(made, Err(ImageError::NotPublic { .. } | ImageError::BadReference { .. })),
                "{refused}: {made:?}"
            );
        }
        assert!(RegistrySource::new("debian:12", Reach::Public).is_ok());
        for elsewhere in
            ["http://registry.example/", "https://10.0.0.1/", "https://[fe80::1]/", "https://a.localhost/"]
        {
            assert!(may_be_asked(&Url::parse(elsewhere).expect("a URL")).is_err(), "{elsewhere}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_computer_is_refused_when_it_is_resolved() {
        let name = "localhost".parse().expect("a name");
        assert!(PublicOnly.resolve(name).await.is_err());
    }
}
