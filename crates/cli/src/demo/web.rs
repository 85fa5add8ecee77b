//! As little HTTP as it takes to read from a guest through a port of this computer, as a browser would.

use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The largest answer that is read.
const LARGEST: u64 = 64 << 20;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fetches a path from a port of the loopback; none when the answer is that it is not there yet.
pub async fn get(port: u16, path: &str) -> Result<Option<Vec<u8>>> {
    let asked =
        timeout(PATIENCE, ask(port, path)).await.with_context(|| format!("wait for {path} of the guest"))?;
    let answer = asked.with_context(|| format!("read {path} of the guest through port {port}"))?;
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").context("the guest's answer has no head")?;
    let (head, body) = answer.split_at(end + 4);
    let status = String::from_utf8_lossy(head).split(' ').nth(1).unwrap_or_default().to_owned();
    match status.as_str() {
        "200" => Ok(Some(body.to_vec())),
        "425" | "503" => Ok(None),
        other => bail!("the guest answered {path} with status {other}"),
    }
}

async fn ask(port: u16, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).await?;
    Ok(answer)
}
