//! What browsers get, and what pages of others do not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use sublet_api::node::{self, Config};
use sublet_api::{Doors, Serving, serve_at, token_path};
use tempfile::TempDir;

struct House {
    data: TempDir,
    node: node::NodeHandle,
    serving: Serving,
    port: u16,
}

async fn house(lan: bool) -> House {
    let data = tempfile::tempdir().unwrap();
    let config = Config {
        listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()],
        mdns: false,
        ..Config::new(data.path().to_owned())
    };
    let node = node::start(config).await.unwrap();
    let lan = lan.then(|| "127.0.0.1:0".parse().unwrap());
    let doors = Doors { port: Some(0), dashboard: true, lan };
    let serving = serve_at(node.clone(), data.path(), doors).await.unwrap();
    let port = serving.address.port();
    House { data, node, serving, port }
}

/// A browser as far as it matters here: it asks, and shows what it was given.
async fn ask(
    house: &House,
    method: Method,
    path: &str,
    headers: &[(header::HeaderName, String)],
) -> Response<String> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name == header::HOST) {
        request = request.header(header::HOST, format!("127.0.0.1:{}", house.port));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let stream = tokio::net::TcpStream::connect(house.serving.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    Response::from_parts(parts, text)
}

fn cookie(response: &Response<String>) -> String {
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn path(link: &str) -> String {
    let (_, path) = link.split_once("/login/").unwrap();
    format!("/login/{path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_the_pages_once() {
    let house = house(false).await;
    let closed = ask(&house, Method::GET, "/", &[]).await;
    assert_eq!(closed.headers()[header::LOCATION], "/login");
    let closed = ask(&house, Method::GET, "/login", &[]).await;
    assert!(closed.status() == StatusCode::UNAUTHORIZED && closed.body().contains("sublet dashboard"));

    let link = path(&house.serving.dashboard().link().unwrap());
    let opened = ask(&house, Method::GET, &link, &[]).await;
    assert_eq!(opened.headers()[header::LOCATION], "/");
    let shown = (header::COOKIE, cookie(&opened));
    let again = ask(&house, Method::GET, &link, &[]).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);

    let page = ask(&house, Method::GET, "/", std::slice::from_ref(&shown)).await;
    assert!(page.status() == StatusCode::OK && page.body().contains("<!doctype html>"), "{}", page.body());
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let status = ask(&house, Method::GET, "/v1/status", std::slice::from_ref(&shown)).await;
    assert_eq!(status.status(), StatusCode::OK);
    assert_eq!(ask(&house, Method::GET, "/v1/nothing", std::slice::from_ref(&shown)).await.status(), 404);

    let out = ask(&house, Method::POST, "/logout", std::slice::from_ref(&shown)).await;
    assert_eq!(out.headers()[header::LOCATION], "/login");
    let status = ask(&house, Method::GET, "/v1/status", &[shown]).await;
    assert_eq!(status.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_gets_nothing_even_with_the_cookie() {
    let house = house(false).await;
    let link = path(&house.serving.dashboard().link().unwrap());
    let shown = (header::COOKIE, cookie(&ask(&house, Method::GET, &link, &[]).await));
    for origin in ["http://evil.example", "null", "https://127.0.0.1:1"] {
        let headers = [shown.clone(), (header::ORIGIN, origin.to_owned())];
        let stolen = ask(&house, Method::POST, "/v1/dashboard/links", &headers).await;
        assert_eq!(stolen.status(), StatusCode::FORBIDDEN, "{origin}");
    }
    // A name of somebody else that leads here: DNS rebinding.
    for host in ["evil.example", "127.0.0.1", "127.0.0.1:1"] {
        let headers = [shown.clone(), (header::HOST, host.to_owned())];
        for path in ["/", "/login", "/v1/status"] {
            assert_eq!(
                ask(&house, Method::GET, path, &headers).await.status(),
                StatusCode::FORBIDDEN,
                "{host}"
            );
        }
    }
    let guessed = (header::COOKIE, format!("sublet-{}={}", house.port, "ab".repeat(32)));
    assert_eq!(ask(&house, Method::GET, "/v1/status", &[guessed]).await.status(), StatusCode::UNAUTHORIZED);
    for path in ["/../token", "/%2e%2e/token", "/..%2ftoken", "//etc/passwd", "/assets/../../token"] {
        let lost = ask(&house, Method::GET, path, std::slice::from_ref(&shown)).await;
        assert!(lost.status().is_client_error(), "{path}: {}", lost.status());
    }
    let token = std::fs::read_to_string(token_path(house.data.path())).unwrap();
    let bearer = (header::AUTHORIZATION, format!("Bearer {token}"));
    assert_eq!(ask(&house, Method::GET, "/v1/status", &[bearer]).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_network_comes_in_by_tls_and_a_passphrase() {
    let house = house(true).await;
    let lan = house.serving.dashboard().lan().unwrap().clone();
    let curl = |arguments: &[&str]| {
        let run = std::process::Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--include", "--max-time", "20"])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr)
    };
    let login = format!("https://{}/login", lan.address);
    let origin = format!("Origin: https://{}", lan.address);
    assert!(curl(&[&login]).contains("type=password"));
    let none = curl(&["--data", "passphrase=", "-H", &origin, &login]);
    assert!(none.contains("not the passphrase"), "without a passphrase nobody comes in: {none}");
    let client = sublet_api::Client::of(house.data.path());
    client.set_dashboard_passphrase("correct horse battery").await.unwrap();
    let wrong = curl(&["--data", "passphrase=wrong", "-H", &origin, &login]);
    assert!(wrong.starts_with("HTTP/1.1 401") && wrong.contains("not the passphrase"), "{wrong}");
    let right = curl(&["--data", "passphrase=correct horse battery", "-H", &origin, &login]);
    let cookie = right.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect(&right);
    assert!(cookie.starts_with("__Host-sublet=") && cookie.contains("Secure"), "{cookie}");
    let shown = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let status = format!("https://{}/v1/status", lan.address);
    assert!(curl(&["-H", &shown, &status]).starts_with("HTTP/1.1 200"));
    assert!(curl(&[&status]).starts_with("HTTP/1.1 401"));
    assert!(curl(&["-H", &shown, "-H", "Origin: https://evil.example", &status]).starts_with("HTTP/1.1 403"));
    assert!(curl(&["-H", &shown, "-H", "Host: evil.example", &status]).starts_with("HTTP/1.1 403"));
    // Who guesses is soon not listened to, and plain HTTP is no way in.
    let guesses: Vec<String> =
        (0..6).map(|_| curl(&["--data", "passphrase=guess", "-H", &origin, &login])).collect();
    assert!(guesses.last().unwrap().contains("wait a minute"), "{guesses:?}");
    assert!(!curl(&[&format!("http://{}/login", lan.address)]).contains("HTTP/1.1 200"));
    assert_eq!(lan.fingerprint.split(':').count(), 32);
    house.node.shut_down().await;
}
