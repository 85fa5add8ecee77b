//! Programs in guests, spoken to from Rust.

use super::{Client, ClientError, Way, escape, nobody};
use crate::problem::Problem;
use crate::session::LARGEST_MESSAGE;
use crate::shapes::{ExecWish, SessionNews, SessionOrder};
use crate::socket;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Socket = WebSocketStream<Box<dyn Wire>>;

/// What can be said to a program in a guest. A program that was begun for this ends when it is dropped.
pub struct ProgramInput(SplitSink<Socket, Message>);

/// What a program in a guest says.
pub struct ProgramOutput(SplitStream<Socket>);

/// Something that a program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramSaid {
    /// On its standard output, or its terminal.
    Out(Bytes),
    /// On its standard error.
    Err(Bytes),
    /// It has ended with this code.
    Ended(i32),
}

impl Client {
    /// Begins a program in the guest of a lease, and returns once it runs.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn exec(
        &self,
        id: &str,
        wish: &ExecWish,
    ) -> Result<(ProgramInput, ProgramOutput), ClientError> {
        let mut socket = self.web_socket(&format!("/v1/leases/{}/exec", escape(id))).await?;
        // A node that refuses may have closed the socket already: what it said is there to be read.
        let _ = socket.send(text(wish)?).await;
        begun(socket).await
    }

    /// Speaks to a guest's own program: its output from an offset on, or from now on.
    ///
    /// # Errors
    /// Why that cannot be.
    pub async fn attach(
        &self,
        id: &str,
        from: Option<u64>,
    ) -> Result<(ProgramInput, ProgramOutput), ClientError> {
        let from = from.map(|from| format!("?from={from}")).unwrap_or_default();
        begun(self.web_socket(&format!("/v1/leases/{}/attach{from}", escape(id))).await?).await
    }

    async fn web_socket(&self, path: &str) -> Result<Socket, ClientError> {
        let (stream, host, token): (Box<dyn Wire>, String, Option<&str>) = match &self.way {
            Way::Socket(data) => {
                let stream = socket::connect(data).await.map_err(|error| nobody(error, data))?;
                (Box::new(stream), "localhost".to_owned(), None)
            }
            Way::Port { address, token } => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                (Box::new(stream), address.to_string(), Some(token))
            }
        };
        let mut request = format!("ws://{host}{path}").into_client_request().map_err(broken)?;
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse();
            request.headers_mut().insert(AUTHORIZATION, bearer.map_err(|_| strange("the token"))?);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE));
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                let said = body.unwrap_or_default();
                let problem = serde_json::from_slice(&said);
                Err(ClientError::Problem(problem.unwrap_or_else(|_| super::strange(parts.status, &said))))
            }
            Err(error) => Err(broken(error)),
        }
    }
}

async fn begun(socket: Socket) -> Result<(ProgramInput, ProgramOutput), ClientError> {
    let (input, mut output) = socket.split();
    loop {
        match output.next().await.transpose().map_err(broken)? {
            Some(Message::Text(text)) => match news(&text)? {
                SessionNews::Began => return Ok((ProgramInput(input), ProgramOutput(output))),
                SessionNews::Problem(problem) => return Err(ClientError::Problem(problem.into())),
                SessionNews::Ended(_) => return Err(strange("it ended before it began")),
            },
            Some(Message::Ping(_) | Message::Pong(_)) => {}
            Some(Message::Binary(_) | Message::Close(_) | Message::Frame(_)) | None => {
                return Err(broke_off());
            }
        }
    }
}

impl ProgramInput {
    /// Gives it input.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn give(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(LARGEST_MESSAGE / 4));
            self.0.send(Message::Binary(piece)).await.map_err(broken)?;
        }
        Ok(())
    }

    /// Asks for something else.
    ///
    /// # Errors
    /// As for [`ProgramInput::give`].
    pub async fn order(&mut self, order: SessionOrder) -> Result<(), ClientError> {
        self.0.send(text(&order)?).await.map_err(broken)
    }
}

impl ProgramOutput {
    /// The next thing that it says; after [`ProgramSaid::Ended`] there is nothing more. Cancelling loses nothing.
    ///
    /// # Errors
    /// When the host or the node is gone.
    pub async fn next(&mut self) -> Result<ProgramSaid, ClientError> {
        loop {
            match self.0.next().await.transpose().map_err(broken)? {
                Some(Message::Binary(mut bytes)) if !bytes.is_empty() => {
                    let stream = bytes.split_to(1);
                    return Ok(if stream[..] == [2] {
                        ProgramSaid::Err(bytes)
                    } else {
                        ProgramSaid::Out(bytes)
                    });
                }
                Some(Message::Text(text)) => match news(&text)? {
                    SessionNews::Ended(code) => return Ok(ProgramSaid::Ended(code)),
                    SessionNews::Problem(problem) => return Err(ClientError::Problem(problem.into())),
                    SessionNews::Began => {}
                },
                Some(Message::Binary(_) | Message::Ping(_) | Message::Pong(_)) => {}
                Some(Message::Close(_) | Message::Frame(_)) | None => return Err(broke_off()),
            }
        }
    }
}

fn text(value: &impl Serialize) -> Result<Message, ClientError> {
    let text = serde_json::to_string(value).map_err(|error| ClientError::Answer(error.to_string()))?;
    Ok(Message::Text(text.into()))
}

fn news(text: &str) -> Result<SessionNews, ClientError> {
    serde_json::from_str(text).map_err(|error| ClientError::Answer(error.to_string()))
}

fn strange(what: &str) -> ClientError {
    ClientError::Answer(what.to_owned())
}

fn broke_off() -> ClientError {
    let broken = "the connection to the program broke";
    Problem::new(StatusCode::BAD_GATEWAY, "stream_broke", broken).into()
}

fn broken(error: Error) -> ClientError {
    let Error::Io(error) = error else { return ClientError::Io(io::Error::other(error)) };
    error.into()
}
