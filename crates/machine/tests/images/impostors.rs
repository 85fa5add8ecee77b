//! Registries that no package offers: they break off, ignore what they are asked, send without end, or ask for a token.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sublet_machine::image::{Auth, Digest, Image, ImageError, PartKind};
use tokio_util::sync::CancellationToken;

use crate::Store;

/// What is asked.
struct Request {
    path: String,
    headers: HashMap<String, String>,
}

/// What is answered.
#[derive(Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The connection breaks after so many bytes of the body.
    cut: Option<usize>,
}

impl Answer {
    fn of(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, body: body.into(), ..Answer::default() }
    }
}

/// An HTTP server that answers as it is told.
struct Impostor {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Impostor {
    fn new(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Impostor {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let server = std::thread::spawn({
            let over = over.clone();
            move || {
                for stream in listener.incoming().take_while(|_| !over.load(Ordering::Relaxed)) {
                    // A client that goes away in the middle is none of our concern.
                    let _ = serve(&stream.expect("a connection"), &answer);
                }
            }
        });
        Impostor { address, over, server: Some(server) }
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // wakes it
        self.server.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: &TcpStream, answer: &impl Fn(&Request) -> Answer) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.take(64 << 10)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let answer = answer(&Request { path, headers });
    write!(
        stream,
        "HTTP/1.1 {} Answer\r\nConnection: close\r\nContent-Length: {}\r\n",
        answer.status,
        answer.body.len()
    )?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len())])
}

/// An image, and how an honest registry would answer for it.
struct Original {
    image: Image,
    layer: Digest,
    blobs: HashMap<String, Vec<u8>>,
}

impl Original {
    async fn new() -> Original {
        let store = Store::new();
        let noise: String =
            (0..40_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let image = store.build("app:1", &[("noise", &noise)]).await;
        let parts = store.images.parts(&image.digest).expect("parts");
        let mut blobs = HashMap::new();
        for part in &parts {
            let mut bytes = Vec::new();
            store.images.open_blob(&part.digest).expect("opened").0.read_to_end(&mut bytes).expect("read");
            blobs.insert(part.digest.to_string(), bytes);
        }
        let layer = parts.iter().find(|part| part.kind == PartKind::Layer).expect("a layer").digest;
        Original { image, layer, blobs }
    }

    fn answer(&self, request: &Request) -> Answer {
        let wanted = request.path.rsplit('/').next().unwrap_or_default();
        let wanted = if wanted == "1" { &self.image.digest.to_string() } else { wanted };
        self.blobs.get(wanted).map_or_else(|| Answer::of(404, ""), |blob| Answer::of(200, blob.clone()))
    }

    fn is_layer(&self, request: &Request) -> bool {
        request.path.ends_with(&self.layer.to_string())
    }
}

#[tokio::test]
async fn a_broken_transfer_is_taken_up_where_it_ended() {
    let original = Original::new().await;
    let (digest, ranges) = (original.image.digest, Arc::new(Mutex::new(Vec::<Option<usize>>::new())));
    let impostor = Impostor::new({
        let ranges = ranges.clone();
        move |request| {
            let mut answer = original.answer(request);
            if !original.is_layer(request) {
                return answer;
            }
            let range = request.headers.get("range").cloned();
            let from = range
                .as_deref()
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            ranges.lock().expect("ranges").push(from);
            if let Some(from) = from {
                answer.status = 206;
                answer.body.drain(..from);
            }
            answer.cut = (answer.body.len() > 100_000).then_some(100_000);
            answer
        }
    });
    let image = Store::new().pull(&impostor.reference("app:1")).await.expect("pulled in pieces");
    assert_eq!(image.digest, digest);
    let ranges = ranges.lock().expect("ranges");
    assert!(ranges.len() > 2 && ranges[0].is_none(), "{ranges:?}");
    assert!(
        ranges[1..].iter().zip(&ranges[2..]).all(|(one, next)| one < next),
        "it moves forward: {ranges:?}"
    );
}

#[tokio::test]
async fn a_registry_that_knows_no_ranges_starts_again() {
    let original = Original::new().await;
    let (digest, asked) = (original.image.digest, AtomicUsize::new(0));
    let impostor = Impostor::new(move |request| {
        let mut answer = original.answer(request);
        if original.is_layer(request) && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.cut = Some(answer.body.len() / 2);
        }
        answer
    });
    assert_eq!(Store::new().pull(&impostor.reference("app:1")).await.expect("pulled").digest, digest);
}

#[tokio::test]
async fn a_registry_that_always_breaks_off_is_given_up() {
    let original = Original::new().await;
    let impostor = Impostor::new(move |request| {
        let mut answer = original.answer(request);
        answer.cut = original.is_layer(request).then_some(1_000);
        answer
    });
    let given_up = Store::new().pull(&impostor.reference("app:1")).await;
    assert!(matches!(given_up, Err(ImageError::Unreachable { .. })), "{given_up:?}");
}

#[tokio::test]
async fn another_manifest_than_asked_for_is_refused() {
    let original = Original::new().await;
    let asked = Digest::of(b"another");
    let (found, manifest) =
        (original.image.digest, original.blobs[&original.image.digest.to_string()].clone());
    let impostor = Impostor::new(move |_| Answer::of(200, manifest.clone()));
    let refused = Store::new().pull(&impostor.reference(&format!("app@{asked}"))).await;
    assert!(
        matches!(refused, Err(ImageError::DigestMismatch { expected, found: f }) if expected == asked && f == found),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nothing_without_end_is_read() {
    let endless = Impostor::new(|_| Answer::of(200, vec![b' '; 5 << 20]));
    let refused = Store::new().pull(&endless.reference("app:1")).await;
    assert!(matches!(refused, Err(ImageError::TooLarge { .. })), "{refused:?}");

    // An index that leads to an index, that leads to an index, and so on.
    let mut blobs = HashMap::new();
    let mut index = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    for _ in 0..5 {
        let digest = Digest::of(&index);
        let above = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": index.len(),
            }],
        });
        blobs.insert(digest.to_string(), index);
        index = above.to_string().into_bytes();
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let spiral = Impostor::new({
        let asked = asked.clone();
        move |request| {
            asked.fetch_add(1, Ordering::Relaxed);
            let wanted = request.path.rsplit('/').next().unwrap_or_default();
            Answer::of(200, blobs.get(wanted).unwrap_or(&index).clone())
        }
    });
    let refused = Store::new().pull(&spiral.reference("app:1")).await;
    assert!(matches!(refused, Err(ImageError::Malformed { .. })), "{refused:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 3);

    let roundabout = Impostor::new(|_| Answer {
        headers: vec![("Location", "/v2/app/again".into())],
        ..Answer::of(307, "")
    });
    let refused = Store::new().pull(&roundabout.reference("app:1")).await;
    assert!(matches!(refused, Err(ImageError::Unreachable { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_fault_of_the_registry_is_told_as_one() {
    for status in [429, 500, 503] {
        let faulty = Impostor::new(move |_| Answer::of(status, "sorry"));
        let told = Store::new().pull(&faulty.reference("app:1")).await;
        assert!(matches!(told, Err(ImageError::Registry { status: s, .. }) if s == status), "{told:?}");
    }
    let talkative = Impostor::new(|_| Answer::of(200, "<html>Welcome to our hotel's network</html>"));
    let told = Store::new().pull(&talkative.reference("app:1")).await;
    assert!(matches!(told, Err(ImageError::Malformed { .. })), "{told:?}");
}

#[tokio::test]
async fn a_token_is_fetched_with_the_login_and_shown() {
    let original = Original::new().await;
    let digest = original.image.digest;
    let impostor = Impostor::new(move |request| {
        let authorization = request.headers.get("authorization").map(String::as_str);
        if request.path.starts_with("/token") {
            assert!(
                request.path.contains("service=test")
                    && request.path.contains("scope=repository%3Ateam%2Fapp%3Apull")
            );
            return match authorization {
                Some("Basic YW5uYTpzZWNyZXQ=") => Answer::of(200, r#"{"token":"a-token","expires_in":300}"#),
                _ => Answer::of(401, ""),
            };
        }
        if authorization != Some("Bearer a-token") {
            let host = &request.headers["host"];
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
            return Answer { headers: vec![("WWW-Authenticate", challenge)], ..Answer::of(401, "") };
        }
        original.answer(request)
    });
    let reference = impostor.reference("team/app:1");
    let auth = Auth::Basic { user: "anna".into(), password: "secret".into() };
    let store = Store::new();
    let pulled =
        store.images.pull(&reference, auth, &|_| {}, &CancellationToken::new()).await.expect("pulled");
    assert_eq!(pulled.digest, digest);
    let denied = Store::new().pull(&reference).await;
    assert!(matches!(denied, Err(ImageError::Denied { .. })), "{denied:?}");
}
