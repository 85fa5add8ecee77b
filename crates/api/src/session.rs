//! Carries what is said between a program in a guest and somebody who speaks to it, over whatever brings messages: a
//! WebSocket, or a window in this program.

use crate::door::Door;
use crate::problem::Problem;
use crate::shapes::{ExecWish, SessionNews, SessionOrder};
use axum::http::StatusCode;
use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use node::model::session::Frame;
use node::{Hear, Say, Session};
use std::io;
use std::time::Duration;
use tokio::time::timeout;

/// How long a client may take to say what to begin.
const WISH_WITHIN: Duration = Duration::from_secs(10);

/// Sessions at once through one door.
pub const SESSIONS: usize = 64;

/// The largest message of a client.
pub const LARGEST_MESSAGE: usize = 256 * 1024;

/// A message, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Input; or output, after a byte that says which.
    Bytes(Bytes),
    /// JSON.
    Text(String),
}

/// Which program.
pub enum Which {
    /// One that the first message names.
    Another,
    /// The guest's own, heard from an offset on, or from now on.
    Own(Option<u64>),
}

/// Begins or finds the program, and carries messages until it ends, the client goes, or the node stops.
pub async fn carry(
    door: &Door,
    lease: &str,
    which: Which,
    mut client: impl Stream<Item = Message> + Unpin,
    mut out: impl Sink<Message> + Unpin,
) {
    let carried = async {
        let session = begin(door, lease, which, &mut client).await?;
        // A client that no longer hears has gone, and what it began goes with it.
        let _ = out.send(news(&SessionNews::Began)).await;
        let Session { say, hear } = session;
        tokio::select! {
            told = tell(hear, &mut out) => told,
            asked = ask(client, say) => asked,
            () = door.closed.cancelled() => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", "the node stops")),
        }
    };
    if let Err(problem) = carried.await {
        let _ = out.send(news(&SessionNews::Problem(problem.into()))).await;
    }
    let _ = out.close().await;
}

async fn begin(
    door: &Door,
    lease: &str,
    which: Which,
    client: &mut (impl Stream<Item = Message> + Unpin),
) -> Result<Session, Problem> {
    let lease = door.node.find_lease(lease).await?;
    match which {
        Which::Own(from) => Ok(door.node.attach(lease, from).await?),
        Which::Another => {
            let bad = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", why);
            let Ok(Some(Message::Text(text))) = timeout(WISH_WITHIN, client.next()).await else {
                return Err(bad("the first message must be text that says what to begin".to_owned()));
            };
            let wish: ExecWish = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
            Ok(door.node.exec(lease, wish.into()).await?)
        }
    }
}

/// What the program says, until it ends.
async fn tell(mut hear: Hear, out: &mut (impl Sink<Message> + Unpin)) -> Result<(), Problem> {
    while let Some(frame) = hear.next().await {
        let (message, last) = match frame {
            Frame::Out(bytes) => (output(1, &bytes), false),
            Frame::Err(bytes) => (output(2, &bytes), false),
            Frame::Ended(code) => (news(&SessionNews::Ended(code)), true),
            Frame::Begin(_)
            | Frame::Copy(_)
            | Frame::Input(_)
            | Frame::InputEnds
            | Frame::Resize(_)
            | Frame::Signal(_)
            | Frame::Began
            | Frame::Refused(_)
            | Frame::Here => continue,
        };
        if out.send(message).await.is_err() || last {
            return Ok(());
        }
    }
    let broken = "the stream to the program broke: its host is gone, or the guest has ended";
    Err(Problem::new(StatusCode::BAD_GATEWAY, "stream_broke", broken))
}

/// What the client says, until it goes.
async fn ask(mut client: impl Stream<Item = Message> + Unpin, mut say: Say) -> Result<(), Problem> {
    while let Some(message) = client.next().await {
        let said = match message {
            Message::Bytes(bytes) => say.input(&bytes).await,
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(order) => say.say(&frame(order)).await,
                Err(error) => {
                    return Err(Problem::new(
                        StatusCode::UNPROCESSABLE_ENTITY,
                        "bad_body",
                        error.to_string(),
                    ));
                }
            },
        };
        if said.is_err() {
            // What has broken is told by the other half, together with the last words.
            return std::future::pending().await;
        }
    }
    Ok(())
}

fn frame(order: SessionOrder) -> Frame {
    match order {
        SessionOrder::Resize(size) => Frame::Resize(size.into()),
        SessionOrder::Signal(signal) => Frame::Signal(signal),
        SessionOrder::InputEnds => Frame::InputEnds,
    }
}

fn output(stream: u8, bytes: &[u8]) -> Message {
    Message::Bytes([&[stream], bytes].concat().into())
}

fn news(news: &SessionNews) -> Message {
    // Our shapes have text keys.
    Message::Text(serde_json::to_string(news).unwrap_or_default())
}

/// The messages of a WebSocket. What is neither input nor an order is the socket's own business.
pub fn messages(
    socket: impl Stream<Item = Result<axum::extract::ws::Message, axum::Error>> + Unpin,
) -> impl Stream<Item = Message> + Unpin {
    use axum::extract::ws::Message as Ws;
    let messages = socket.take_while(|message| {
        std::future::ready(matches!(message, Ok(message) if !matches!(message, Ws::Close(_))))
    });
    Box::pin(messages.filter_map(|message| {
        std::future::ready(match message {
            Ok(Ws::Binary(bytes)) => Some(Message::Bytes(bytes)),
            Ok(Ws::Text(text)) => Some(Message::Text(text.as_str().to_owned())),
            Ok(Ws::Ping(_) | Ws::Pong(_) | Ws::Close(_)) | Err(_) => None,
        })
    }))
}

/// Messages into a WebSocket.
pub fn into_socket(
    socket: impl Sink<axum::extract::ws::Message, Error = axum::Error> + Unpin,
) -> impl Sink<Message, Error = io::Error> + Unpin {
    use axum::extract::ws::Message as Ws;
    let into = |message| {
        std::future::ready(Ok::<_, axum::Error>(match message {
            Message::Bytes(bytes) => Ws::Binary(bytes),
            Message::Text(text) => Ws::Text(text.into()),
        }))
    };
    Box::pin(socket.with(into).sink_map_err(io::Error::other))
}
