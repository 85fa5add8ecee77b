//! The guest's resolver. It knows addresses of the names that the guest may reach, and nothing else: it is no way to
//! ask the world's name servers anything.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use model::document::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gate::{FRESH, Gate};
use super::traffic::Pace;

/// Where resolvers are asked.
pub const PORT: u16 = 53;

/// The largest datagram that passes everywhere: longer answers are asked for again over TCP.
const LARGEST_DATAGRAM: u16 = 1_232;

/// What one can always send.
const SMALLEST: u16 = 512;

/// A connection without a question is closed.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// Questions over one connection.
const QUESTIONS: usize = 200;

/// Answers questions over TCP.
pub async fn serve(mut stream: TcpStream, gate: &Gate, pace: &Pace) -> io::Result<()> {
    for _ in 0..QUESTIONS {
        let question = async {
            let mut question = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut question).await?;
            Ok::<_, io::Error>(question)
        };
        let Ok(Ok(question)) = timeout(ASK_WITHIN, question).await else { return Ok(()) };
        pace.wait().await;
        let Some(said) = answer(gate, &question, false).await else { return Ok(()) };
        let length = u16::try_from(said.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), said.as_slice()].concat()).await?;
    }
    Ok(())
}

/// The answer to a question in a datagram; none where there is nothing to be said.
pub async fn answer_datagram(gate: &Gate, question: &[u8]) -> Option<Vec<u8>> {
    answer(gate, question, true).await
}

async fn answer(gate: &Gate, question: &[u8], is_datagram: bool) -> Option<Vec<u8>> {
    let asked = match Message::from_vec(question) {
        // An answer to an answer could go round for ever.
        Ok(asked) if asked.metadata.message_type == MessageType::Response => return None,
        Ok(asked) => asked,
        Err(_) => return malformed(question),
    };
    let mut said = Message::response(asked.metadata.id, asked.metadata.op_code);
    said.metadata.recursion_desired = asked.metadata.recursion_desired;
    said.metadata.recursion_available = true;
    let mut most = SMALLEST;
    if let Some(extended) = &asked.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(LARGEST_DATAGRAM);
        said.set_edns(ours);
        most = extended.max_payload().clamp(SMALLEST, LARGEST_DATAGRAM);
    }
    said.metadata.response_code = match asked.queries.as_slice() {
        _ if asked.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
        [query] if query.query_class() == DNSClass::IN => {
            said.add_query(query.clone());
            match records(gate, query).await {
                Ok(records) => {
                    said.add_answers(records);
                    ResponseCode::NoError
                }
                Err(code) => code,
            }
        }
        [_] => ResponseCode::Refused,
        _ => ResponseCode::FormErr,
    };
    let bytes = said.to_vec().ok()?;
    if !is_datagram || bytes.len() <= usize::from(most) { Some(bytes) } else { said.truncate().to_vec().ok() }
}

/// What we know of a name.
async fn records(gate: &Gate, query: &Query) -> Result<Vec<Record>, ResponseCode> {
    let name = query.name().to_ascii().parse::<Name>().map_err(|_| ResponseCode::NXDomain)?;
    let kind = query.query_type();
    if matches!(kind, RecordType::ANY | RecordType::AXFR | RecordType::IXFR) {
        return Err(ResponseCode::Refused);
    }
    let addresses = gate.lookup(&name).await.map_err(|barred| {
        tracing::trace!(%name, %barred, "a guest's name was not found");
        ResponseCode::NXDomain
    })?;
    let data = addresses.into_iter().filter_map(|address| match (address, kind) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(address))),
        // It has no such thing, as far as we know.
        (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
    });
    let lasts = FRESH.as_secs() as u32;
    Ok(data.map(|data| Record::from_rdata(query.name().clone(), lasts, data)).collect())
}

/// Says so, if there is at least a head to answer to.
fn malformed(question: &[u8]) -> Option<Vec<u8>> {
    let [a, b, flags, ..] = question else { return None };
    if question.len() < 12 || flags & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([*a, *b]);
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()
}
