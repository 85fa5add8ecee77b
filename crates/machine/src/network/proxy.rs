//! The proxy inside a guest's network: HTTP (CONNECT, and plain requests for `http://..`) and SOCKS 5 on one port, told
//! apart by their first byte.

use std::io;
use std::time::Duration;

use model::document::Host;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gate::{Barred, Gate};
use super::traffic::Meter;
use super::{pump, socks};

/// A client that takes longer to say what it wants holds a connection for nothing.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// The largest head of a request.
const LARGEST_HEAD: usize = 32 * 1024;

/// The most lines in it.
const MOST_LINES: usize = 100;

/// Serves one client.
pub async fn serve(mut client: TcpStream, gate: &Gate, meter: &Meter) -> io::Result<()> {
    let mut first = [0];
    let asked = timeout(ASK_WITHIN, client.read_exact(&mut first)).await;
    if !matches!(asked, Ok(Ok(_))) {
        return Ok(());
    }
    match first {
        [socks::VERSION] => serve_socks(client, gate, meter).await,
        [other] => serve_http(client, other, gate, meter).await,
    }
}

async fn serve_socks(mut client: TcpStream, gate: &Gate, meter: &Meter) -> io::Result<()> {
    let Ok(wish) = timeout(ASK_WITHIN, socks::wish(&mut client)).await else { return Ok(()) };
    let Some((host, port)) = wish? else { return client.shutdown().await };
    match gate.connect(&host, port).await {
        Ok(outside) => {
            socks::tell(&mut client, Ok(())).await?;
            pump::carry(client, outside, &[], meter).await
        }
        Err(barred) => {
            tracing::debug!(%host, port, %barred, "a guest was not let out");
            socks::tell(&mut client, Err(&barred)).await?;
            client.shutdown().await
        }
    }
}

async fn serve_http(mut client: TcpStream, first: u8, gate: &Gate, meter: &Meter) -> io::Result<()> {
    let head = match timeout(ASK_WITHIN, read_head(&mut client, first)).await {
        Ok(head) => head?,
        Err(_) => Err(Complaint(408, "the request took too long".to_owned())),
    };
    let wish = head.and_then(|bytes| Wish::read(&bytes));
    let wish = match wish {
        Ok(wish) => wish,
        Err(complaint) => return complain(client, complaint).await,
    };
    match gate.connect(&wish.host, wish.port).await {
        Ok(outside) => {
            if wish.is_tunnel {
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            }
            pump::carry(client, outside, &wish.forward, meter).await
        }
        Err(barred) => {
            tracing::debug!(host = %wish.host, port = wish.port, %barred, "a guest was not let out");
            let status = match &barred {
                Barred::Policy(_) | Barred::NotPublic { .. } => 403,
                Barred::Unknown(_) | Barred::Silent { .. } => 502,
            };
            complain(client, Complaint(status, barred.to_string())).await
        }
    }
}

/// A status, and why.
struct Complaint(u16, String);

impl Complaint {
    fn bad(why: &str) -> Complaint {
        Complaint(400, why.to_owned())
    }
}

async fn complain(mut client: TcpStream, Complaint(status, why): Complaint) -> io::Result<()> {
    let name = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        _ => "Bad Gateway",
    };
    let answer = format!(
        "HTTP/1.1 {status} {name}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    // What the client still says is read for a moment: closed under unread bytes, the answer would be lost.
    let rest = async {
        let mut bytes = [0; 4096];
        while client.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
    };
    let _ = timeout(Duration::from_secs(1), rest).await;
    Ok(())
}

/// All bytes up to the end of the head, and what came with them.
async fn read_head(client: &mut TcpStream, first: u8) -> io::Result<Result<Vec<u8>, Complaint>> {
    let mut bytes = vec![first];
    let mut piece = [0; 4096];
    loop {
        let length = client.read(&mut piece).await?;
        if length == 0 {
            return Ok(Err(Complaint::bad("the request ends in the middle")));
        }
        let from = bytes.len().saturating_sub(3);
        bytes.extend(piece.get(..length).unwrap_or_default());
        if bytes.get(from..).unwrap_or_default().windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(Ok(bytes));
        }
        if bytes.len() > LARGEST_HEAD {
            return Ok(Err(Complaint(431, "the head of the request is larger than 32 KiB".to_owned())));
        }
    }
}

/// What a client wants of a proxy.
struct Wish {
    host: Host,
    port: u16,
    is_tunnel: bool,
    /// What the server gets first.
    forward: Vec<u8>,
}

impl Wish {
    fn read(bytes: &[u8]) -> Result<Wish, Complaint> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_LINES];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(bytes).map_err(|error| match error {
            httparse::Error::TooManyHeaders => {
                Complaint(431, "the request has more than 100 headers".to_owned())
            }
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version => Complaint::bad(&format!("this is no HTTP: {error}")),
        })?;
        let httparse::Status::Complete(length) = parsed else {
            return Err(Complaint::bad("the request ends in the middle"));
        };
        let rest = bytes.get(length..).unwrap_or_default();
        let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        if method == "CONNECT" {
            let (host, port) = authority(target, None)?;
            return Ok(Wish { host, port, is_tunnel: true, forward: rest.to_vec() });
        }
        let Some(after) =
            target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).and(target.get(7..))
        else {
            return Err(Complaint::bad("this is a proxy: ask it for http://.., or CONNECT to NAME:PORT"));
        };
        let at = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (named, path) = after.split_at(at);
        let (host, port) = authority(named, Some(80))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut forward = format!("{method} {slash}{path} HTTP/1.1\r\nHost: {named}\r\n").into_bytes();
        for header in &*request.headers {
            if !is_between_us(header.name) {
                forward.extend(header.name.as_bytes());
                forward.extend(b": ");
                forward.extend(header.value);
                forward.extend(b"\r\n");
            }
        }
        // One request for each connection: where the next one goes is judged again.
        forward.extend(b"Connection: close\r\n\r\n");
        forward.extend(rest);
        Ok(Wish { host, port, is_tunnel: false, forward })
    }
}

/// Headers that are meant for a proxy, or that it sets itself.
fn is_between_us(name: &str) -> bool {
    const OURS: [&str; 6] =
        ["host", "connection", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"];
    OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

/// `NAME:PORT`, and nothing beside it: no user, no space, no second spelling.
fn authority(text: &str, usual: Option<u16>) -> Result<(Host, u16), Complaint> {
    let has_port = text.rsplit_once(':').filter(|(host, _)| !host.starts_with('[') || host.ends_with(']'));
    let (host, port) = match (has_port, usual) {
        (Some((host, port)), _) => {
            let plain = port.bytes().all(|byte| byte.is_ascii_digit());
            (host, port.parse().ok().filter(|port| plain && *port != 0))
        }
        (None, usual) => (text, usual),
    };
    let port = port.ok_or_else(|| Complaint::bad("the port is no number from 1 to 65535"))?;
    let host = host.parse::<Host>().map_err(|error| Complaint::bad(&error.to_string()))?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Wish, u16> {
        Wish::read(text.as_bytes()).map_err(|Complaint(status, _)| status)
    }

    #[test]
    fn a_tunnel_is_asked_for_by_name_and_port() {
        let wish =
            read("CONNECT example.org:443 HTTP/1.1\r\nHost: other.example.org\r\n\r\nhello").ok().unwrap();
        assert_eq!((wish.host.to_string().as_str(), wish.port), ("example.org", 443));
        assert!(wish.is_tunnel && wish.forward == b"hello");
        let wish = read("CONNECT [2606:2800::1]:443 HTTP/1.1\r\n\r\n").ok().unwrap();
        assert_eq!(wish.host.to_string(), "2606:2800::1");
    }

    #[test]
    fn a_plain_request_is_passed_on_without_what_is_the_proxy_s() {
        let wish = read(
            "GET http://Example.org:8080/a?b=1 HTTP/1.1\r\nHost: other.org\r\nProxy-Connection: keep-alive\r\n\
             Proxy-Authorization: Basic eHg=\r\nAccept: */*\r\n\r\n",
        )
        .ok()
        .unwrap();
        let forward = String::from_utf8(wish.forward).unwrap();
        assert_eq!(
            forward,
            "GET /a?b=1 HTTP/1.1\r\nHost: Example.org:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        assert_eq!((wish.host.to_string().as_str(), wish.port), ("example.org", 8080));
        let wish = read("GET HTTP://example.org?q HTTP/1.0\r\n\r\n").ok().unwrap();
        assert!(wish.port == 80 && wish.forward.starts_with(b"GET /?q HTTP/1.1\r\n"));
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for head in [
            "CONNECT example.org HTTP/1.1",
            "CONNECT example.org:0 HTTP/1.1",
            "CONNECT example.org:+443 HTTP/1.1",
            "CONNECT example.org:443:80 HTTP/1.1",
            "CONNECT u@example.org:443 HTTP/1.1",
            "CONNECT http://example.org:443 HTTP/1.1",
            "CONNECT 0x7f.1:80 HTTP/1.1",
            "CONNECT 127.1:80 HTTP/1.1",
            "CONNECT 2130706433:80 HTTP/1.1",
            "CONNECT ::1:80 HTTP/1.1",
            "CONNECT example.org:443/ HTTP/1.1",
            "CONNECT example.org\t:443 HTTP/1.1",
            "CONNECT example.org:443 HTTP/1.1\r\nX : y",
            "GET / HTTP/1.1",
            "GET https://example.org/ HTTP/1.1",
            "GET http://u:p@example.org/ HTTP/1.1",
            "GET http:/// HTTP/1.1",
            "GET http://a.b\\@c.d/ HTTP/1.1",
            "GET http://a.b:80#@c.d:1/ x HTTP/1.1",
            "PRI * HTTP/2.0",
            "\0",
            "GET http://example.org/ HTTP/1.1\r\nA: b\rC: d",
        ] {
            assert_eq!(read(&format!("{head}\r\n\r\n")).err(), Some(400), "{head:?}");
        }
    }
}
