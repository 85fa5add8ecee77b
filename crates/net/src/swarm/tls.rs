//! TLS 1.3 between peers, as libp2p specifies it (<https://github.com/libp2p/specs/blob/master/tls/tls.md>), with AES
//! before ChaCha20 where the processor has it.
//!
//! libp2p's own adapter, and noise, encrypt with ChaCha20 alone or first, which took a third of all the time that a
//! tunnel took on a processor with AES instructions. Certificates are made and read by libp2p's code; what is ours is
//! the list of ciphers, and the little that hands each certificate to it.

use futures::future::BoxFuture;
use futures::io::BufWriter;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::PeerId;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::tls::certificate;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use std::io;
use std::iter::{Once, once};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// One frame of yamux with its header, which else would be a record and a call of the system of its own.
const WRITE: usize = 17 * 1024;

/// Encrypts a connection, and proves to each end who the other is.
#[derive(Clone)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// A connection could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// No certificate could be made for our key.
    #[error("no certificate for our own key")]
    Certificate(#[from] certificate::GenError),
    /// The certificate or the ciphers do not fit the library.
    #[error("TLS cannot be set up")]
    Setup(#[from] Error),
    /// The other end does not speak TLS, or proves nothing.
    #[error("the TLS handshake failed")]
    Handshake(#[from] io::Error),
}

impl Tls {
    /// In the name of `key`.
    pub(crate) fn new(key: &Keypair) -> Result<Tls, TlsError> {
        let provider = Arc::new(CryptoProvider { cipher_suites: ciphers(), ..aws_lc_rs::default_provider() });
        let (certificate, secret) = certificate::generate(key)?;
        // Given as it is: the library would refuse the extension that holds the peer's key, which it cannot read.
        let shown = CertifiedKey::new(vec![certificate], provider.key_provider.load_private_key(secret)?);
        let shown = Arc::new(SingleCertAndKey::from(shown));
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(shown.clone());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous() // there is no authority: the certificate itself is signed by the peer's key
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(shown);
        server.alpn_protocols = vec![b"libp2p".to_vec()];
        client.alpn_protocols = vec![b"libp2p".to_vec()];
        // All peers have the same name to TLS, so a remembered session would be offered to the wrong one, and remembered
        // in vain.
        client.resumption = Resumption::disabled();
        server.send_tls13_tickets = 0;
        Ok(Tls { server: Arc::new(server), client: Arc::new(client) })
    }
}

fn ciphers() -> Vec<rustls::SupportedCipherSuite> {
    let [aes, aes_256, chacha] =
        [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    if has_aes() { vec![aes, aes_256, chacha] } else { vec![chacha, aes, aes_256] }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = Once<&'static str>;
    fn protocol_info(&self) -> Self::InfoIter {
        once("/tls/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, BufWriter<TlsStream<C>>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, TlsError>>;

    fn upgrade_inbound(self, connection: C, _: &'static str) -> Self::Future {
        async move {
            let stream = TlsAcceptor::from(self.server).accept(connection).await?;
            let peer = peer(stream.get_ref().1)?;
            Ok((peer, BufWriter::with_capacity(WRITE, stream.into())))
        }
        .boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, BufWriter<TlsStream<C>>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, TlsError>>;

    fn upgrade_outbound(self, connection: C, _: &'static str) -> Self::Future {
        async move {
            // The specification forbids to name the server; an address of none is left out by the library.
            let nobody = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let stream = TlsConnector::from(self.client).connect(nobody, connection).await?;
            let peer = peer(stream.get_ref().1)?;
            Ok((peer, BufWriter::with_capacity(WRITE, stream.into())))
        }
        .boxed()
    }
}

/// Whose certificate was shown. That it is the peer which was dialled, libp2p checks for each kind of connection.
fn peer(connection: &CommonState) -> Result<PeerId, TlsError> {
    let shown = connection.peer_certificates().unwrap_or_default();
    let [certificate] = shown else { return Err(Error::NoCertificatesPresented.into()) };
    Ok(parse(certificate)?.peer_id())
}

/// Accepts exactly one certificate, signed by itself and by the peer's key; both ends must show one.
#[derive(Debug)]
struct Verifier;

impl Verifier {
    fn verify(certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        if others.is_empty() {
            parse(certificate).map(drop)
        } else {
            Err(CertificateError::BadEncoding.into())
        }
    }

    fn verify_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = parse(certificate)?.verify_signature(signed.scheme, message, signed.signature());
        verified.map_err(|_| CertificateError::BadSignature)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn schemes() -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Reads a certificate; libp2p's code verifies its times, its own signature, and that of the peer's key in it.
fn parse<'a>(certificate: &'a CertificateDer<'a>) -> Result<certificate::P2pCertificate<'a>, Error> {
    certificate::parse(certificate).map_err(|_| CertificateError::ApplicationVerificationFailure.into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Verifier::verify(certificate, others).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Verifier::verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Verifier::schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Verifier::verify(certificate, others).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Verifier::verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Verifier::schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::tls::Config as Theirs;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

    type Pipe = Compat<tokio::io::DuplexStream>;

    fn key(seed: u8) -> Keypair {
        crate::identity::keypair([seed; 32])
    }

    /// Both ends' outcomes of a handshake.
    async fn shake<I, O>(server: I, client: O) -> (Result<I::Output, I::Error>, Result<O::Output, O::Error>)
    where
        I: InboundConnectionUpgrade<Pipe, Info = &'static str>,
        O: OutboundConnectionUpgrade<Pipe, Info = &'static str>,
    {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let name = "/tls/1.0.0";
        futures::join!(
            server.upgrade_inbound(here.compat(), name),
            client.upgrade_outbound(there.compat(), name)
        )
    }

    #[tokio::test]
    async fn each_end_learns_who_the_other_is() {
        let (server, client) = shake(Tls::new(&key(1)).unwrap(), Tls::new(&key(2)).unwrap()).await;
        let (server, client) = (server.unwrap(), client.unwrap());
        assert_eq!((server.0, client.0), (key(2).public().to_peer_id(), key(1).public().to_peer_id()));
        let cipher = client.1.get_ref().get_ref().1.negotiated_cipher_suite().unwrap();
        assert_eq!(cipher.suite() == TLS13_AES_128_GCM_SHA256.suite(), has_aes());
    }

    #[tokio::test]
    async fn it_is_the_protocol_of_every_other_libp2p() {
        let (server, client) = shake(Theirs::new(&key(1)).unwrap(), Tls::new(&key(2)).unwrap()).await;
        assert_eq!(
            (server.unwrap().0, client.unwrap().0),
            (key(2).public().to_peer_id(), key(1).public().to_peer_id())
        );
        let (server, client) = shake(Tls::new(&key(1)).unwrap(), Theirs::new(&key(2)).unwrap()).await;
        assert_eq!(
            (server.unwrap().0, client.unwrap().0),
            (key(2).public().to_peer_id(), key(1).public().to_peer_id())
        );
    }

    /// The same, with a certificate that names no peer.
    fn impostor(seed: u8) -> Tls {
        let honest = Tls::new(&key(seed)).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = vec![made.cert.der().clone()];
        let secret: rustls::pki_types::PrivateKeyDer<'static> =
            rustls::pki_types::PrivatePkcs8KeyDer::from(made.key_pair.serialize_der()).into();
        let provider = honest.client.crypto_provider().clone();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_single_cert(certificate.clone(), secret.clone_key());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_auth_cert(certificate, secret);
        Tls { server: Arc::new(server.unwrap()), client: Arc::new(client.unwrap()) }
    }

    #[tokio::test]
    async fn a_certificate_that_proves_no_peer_is_refused() {
        let (_, client) = shake(impostor(1), Tls::new(&key(2)).unwrap()).await;
        assert!(matches!(client.err().unwrap(), TlsError::Handshake(_)));
        let (server, _) = shake(Tls::new(&key(1)).unwrap(), impostor(2)).await;
        assert!(matches!(server.err().unwrap(), TlsError::Handshake(_)));
    }

    #[tokio::test]
    async fn a_client_without_a_certificate_is_refused() {
        let honest = Tls::new(&key(2)).unwrap();
        let anonymous = ClientConfig::builder_with_provider(honest.client.crypto_provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_no_client_auth();
        let anonymous = Tls { client: Arc::new(anonymous), ..honest };
        let (server, _) = shake(Tls::new(&key(1)).unwrap(), anonymous).await;
        assert!(matches!(server.err().unwrap(), TlsError::Handshake(_)));
    }
}
