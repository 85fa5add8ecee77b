//! Progress and result over HTTP/1.1 (RFC 9112): one request a connection, everything from outside bounded.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::canvas::Canvas;

const MAX_CONNECTIONS: usize = 32;
const MAX_REQUEST: usize = 4096;
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// For one write to make progress: a reader that stalls longer is gone.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// After a failed `accept` (too many open files, say): time for others to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const PAGE: &str = include_str!("page.html");

/// Answers for ever, a thread for each connection.
pub fn serve(listener: &TcpListener, canvas: &Arc<Canvas>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        // One more than we serve at a time: closed at once, and the client tries again.
        if open.load(Ordering::Acquire) >= MAX_CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::AcqRel);
        let (canvas, place) = (Arc::clone(canvas), Place(Arc::clone(&open)));
        thread::spawn(move || {
            // A client that went away in the middle is its own affair.
            let _ = converse(stream, &canvas);
            drop(place);
        });
    }
}

/// One of the `MAX_CONNECTIONS`; given back when dropped, in a panic too.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn converse(mut stream: TcpStream, canvas: &Canvas) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIME))?;
    let deadline = Instant::now() + REQUEST_TIME;
    let head = head_of(|buffer| {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        stream.read(buffer)
    });
    let request = match &head {
        Ok(head) => parsed(head),
        Err(Unread::TooLong) => Err(Answer::text(431, "the request is longer than 4096 bytes")),
        Err(Unread::Lost) => return Ok(()),
    };
    match request {
        Ok(Request { body_wanted, path }) => answer(path, canvas).write(&mut stream, body_wanted),
        Err(refusal) => refusal.write(&mut stream, true),
    }
}

enum Unread {
    TooLong,
    /// The client went away, or took too long.
    Lost,
}

/// Reads up to the empty line that ends a request's head.
fn head_of(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> Result<Vec<u8>, Unread> {
    let mut head = vec![0; MAX_REQUEST];
    let mut length = 0;
    while length < MAX_REQUEST {
        let more = read(&mut head[length..]).map_err(|_| Unread::Lost)?;
        if more == 0 {
            return Err(Unread::Lost);
        }
        length += more;
        if head[..length].windows(4).any(|end| end == b"\r\n\r\n") {
            head.truncate(length);
            return Ok(head);
        }
    }
    Err(Unread::TooLong)
}

struct Request<'a> {
    /// False for HEAD.
    body_wanted: bool,
    path: &'a str,
}

fn parsed(head: &[u8]) -> Result<Request<'_>, Answer<'static>> {
    let malformed = || Answer::text(400, "that is not HTTP");
    let line = head.split(|byte| *byte == b'\r').next().ok_or_else(malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| malformed())?;
    let [method, target, version] = *line.split(' ').collect::<Vec<_>>() else { return Err(malformed()) };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Err(malformed());
    }
    let body_wanted = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Err(Answer::text(405, "only GET and HEAD")),
    };
    Ok(Request { body_wanted, path: target.split('?').next().unwrap_or(target) })
}

fn answer<'a>(path: &str, canvas: &'a Canvas) -> Answer<'a> {
    match path {
        "/" => Answer { status: 200, kind: "text/html; charset=utf-8", body: PAGE.as_bytes().into() },
        "/progress" => {
            let progress = canvas.progress();
            let json = format!(
                r#"{{"done":{},"total":{},"percent":{},"elapsed_ms":{}}}"#,
                progress.done,
                progress.total,
                progress.percent(),
                progress.elapsed_ms
            );
            Answer { status: 200, kind: "application/json", body: json.into_bytes().into() }
        }
        "/result" => match canvas.picture() {
            Some(picture) => Answer { status: 200, kind: "image/png", body: picture.png.as_slice().into() },
            None => not_yet(),
        },
        "/hash" => match canvas.picture() {
            Some(picture) => Answer::text(200, &picture.hash),
            None => not_yet(),
        },
        _ => Answer::text(404, "there are /, /progress, /result and /hash"),
    }
}

fn not_yet() -> Answer<'static> {
    Answer::text(503, "the picture is still being drawn; see /progress")
}

#[derive(Debug)]
struct Answer<'a> {
    status: u16,
    kind: &'static str,
    body: Cow<'a, [u8]>,
}

impl Answer<'_> {
    fn text(status: u16, sentence: &str) -> Answer<'static> {
        Answer {
            status,
            kind: "text/plain; charset=utf-8",
            body: format!("{sentence}\n").into_bytes().into(),
        }
    }

    fn write(&self, to: &mut impl Write, body_wanted: bool) -> io::Result<()> {
        let retry = if self.status == 503 { "Retry-After: 1\r\n" } else { "" };
        write!(
            to,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{retry}Connection: close\r\n\r\n",
            self.status,
            reason(self.status),
            self.kind,
            self.body.len()
        )?;
        if body_wanted {
            to.write_all(&self.body)?;
        }
        to.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Size;

    fn small() -> Canvas {
        Canvas::new(Size { width: 8, height: 8 }, 1)
    }

    /// Starts a server and returns what it says to `request`.
    fn said(request: &[u8], canvas: Canvas) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let canvas = Arc::new(canvas);
        thread::spawn(move || serve(&listener, &canvas));
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn status(request: &str) -> u16 {
        match parsed(request.as_bytes()) {
            Ok(_) => 200,
            Err(answer) => answer.status,
        }
    }

    #[test]
    fn only_plain_requests_are_understood() {
        assert_eq!(status("GET /progress?now HTTP/1.1\r\n\r\n"), 200);
        assert_eq!(status("HEAD / HTTP/1.0\r\n\r\n"), 200);
        assert_eq!(status("POST / HTTP/1.1\r\n\r\n"), 405);
        for garbage in
            ["", "GET", "GET /", "GET / HTTP/2\r\n\r\n", "GET http://x/ HTTP/1.1\r\n", "GET  / HTTP/1.1\r\n"]
        {
            assert_eq!(status(garbage), 400, "{garbage:?}");
        }
        assert_eq!(parsed(b"GET /\xff HTTP/1.1\r\n\r\n").err().map(|answer| answer.status), Some(400));
    }

    #[test]
    fn an_endless_request_is_cut_off() {
        let mut taken = 0;
        let endless = head_of(|buffer| {
            buffer.fill(b'a');
            taken += buffer.len();
            Ok(buffer.len())
        });
        assert!(matches!(endless, Err(Unread::TooLong)));
        assert_eq!(taken, MAX_REQUEST);
    }

    #[test]
    fn a_head_may_come_in_pieces() {
        let mut pieces = ["GET / HT", "TP/1.1\r\n\r", "\n"].into_iter();
        let head = head_of(|buffer| {
            let Some(piece) = pieces.next() else { return Ok(0) };
            buffer[..piece.len()].copy_from_slice(piece.as_bytes());
            Ok(piece.len())
        });
        assert!(matches!(head, Ok(head) if head == b"GET / HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn the_result_is_refused_until_it_is_there() -> io::Result<()> {
        let early = said(b"GET /result HTTP/1.1\r\n\r\n", small())?;
        assert!(early.starts_with("HTTP/1.1 503 ") && early.contains("Retry-After: 1"), "{early}");

        let canvas = small();
        canvas.draw(1);
        let (hash, length) = (canvas.finished().hash.clone(), canvas.finished().png.len());
        let late = said(b"GET /hash HTTP/1.1\r\n\r\n", canvas)?;
        assert!(late.ends_with(&format!("\r\n\r\n{hash}\n")), "{late}");

        let canvas = small();
        canvas.draw(1);
        let head = said(b"HEAD /result HTTP/1.1\r\n\r\n", canvas)?;
        assert!(
            head.contains(&format!("Content-Length: {length}\r\n")) && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        Ok(())
    }

    #[test]
    fn progress_is_json() -> io::Result<()> {
        let answer = said(b"GET /progress HTTP/1.1\r\nHost: guest\r\n\r\n", small())?;
        let (_, json) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(
            json.starts_with(r#"{"done":0,"total":8,"percent":0,"elapsed_ms":"#) && json.ends_with('}'),
            "{json}"
        );
        Ok(())
    }
}
