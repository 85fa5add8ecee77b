//! SOCKS 5 (RFC 1928): connections by name or address, without a password.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::document::Host;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::gate::Barred;

/// The first byte of a client's greeting.
pub const VERSION: u8 = 5;

/// What a client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Answer {
    Done = 0,
    Forbidden = 2,
    Unreachable = 4,
    Refused = 5,
    NoSuchCommand = 7,
    NoSuchAddress = 8,
}

/// Reads what a client wants, after the first byte; none when it was told that it cannot be.
pub async fn wish(stream: &mut TcpStream) -> io::Result<Option<(Host, u16)>> {
    const NO_PASSWORD: u8 = 0;
    const NONE_OF_THESE: u8 = 0xff;
    const CONNECT: u8 = 1;
    let mut methods = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut methods).await?;
    if !methods.contains(&NO_PASSWORD) {
        stream.write_all(&[VERSION, NONE_OF_THESE]).await?;
        return Ok(None);
    }
    stream.write_all(&[VERSION, NO_PASSWORD]).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, command, _, kind] = head;
    if version != VERSION {
        return Ok(None);
    }
    let host = match kind {
        1 => Some(Host::Address(IpAddr::V4(Ipv4Addr::from_bits(stream.read_u32().await?)))),
        4 => Some(Host::Address(IpAddr::V6(Ipv6Addr::from_bits(stream.read_u128().await?)))),
        3 => {
            let mut name = vec![0; stream.read_u8().await?.into()];
            stream.read_exact(&mut name).await?;
            std::str::from_utf8(&name).ok().and_then(host)
        }
        _ => {
            answer(stream, Answer::NoSuchAddress).await?;
            return Ok(None);
        }
    };
    let port = stream.read_u16().await?;
    match host {
        _ if command != CONNECT => answer(stream, Answer::NoSuchCommand).await?,
        Some(host) if port != 0 => return Ok(Some((host, port))),
        Some(_) | None => answer(stream, Answer::Forbidden).await?,
    }
    Ok(None)
}

/// Some programs put an address where a name is to stand, without brackets.
fn host(text: &str) -> Option<Host> {
    text.parse::<IpAddr>().map(Host::Address).or_else(|_| text.parse()).ok()
}

/// Says what became of it.
pub async fn tell(stream: &mut TcpStream, outcome: Result<(), &Barred>) -> io::Result<()> {
    let said = match outcome {
        Ok(()) => Answer::Done,
        Err(Barred::Policy(_) | Barred::NotPublic { .. }) => Answer::Forbidden,
        Err(Barred::Unknown(_)) => Answer::Unreachable,
        Err(Barred::Silent { .. }) => Answer::Refused,
    };
    answer(stream, said).await
}

async fn answer(stream: &mut TcpStream, said: Answer) -> io::Result<()> {
    // Where we are outside is no business of the guest.
    stream.write_all(&[VERSION, said as u8, 0, 1, 0, 0, 0, 0, 0, 0]).await
}
