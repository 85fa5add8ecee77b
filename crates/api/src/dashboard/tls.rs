//! TLS for the local network. No authority vouches for a computer at home: the certificate signs itself, and its
//! fingerprint is shown, to be compared once with what the browser shows.

use node::write_private;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// An acceptor by the certificate of a data directory, made when there is none; and the certificate's fingerprint.
pub fn acceptor(data: &Path) -> io::Result<(TlsAcceptor, String)> {
    let (certificate, key) = load(&data.join("tls"))?;
    let fingerprint =
        Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate)],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        )
        .map_err(io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), fingerprint))
}

fn load(dir: &Path) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (certificate, key) = (dir.join("certificate.der"), dir.join("key.der"));
    match (fs::read(&certificate), fs::read(&key)) {
        (Ok(certificate), Ok(key)) => Ok((certificate, key)),
        (Err(error), _) | (_, Err(error)) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => {
            let names = vec!["sublet.local".to_owned(), "localhost".to_owned()];
            let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
            let (der, key_der) = (made.cert.der().to_vec(), made.key_pair.serialize_der());
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            write_private(&key, &key_der)?;
            write_private(&certificate, &der)?;
            Ok((der, key_der))
        }
    }
}
