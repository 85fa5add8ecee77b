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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use futures::FutureExt;
    use futures::future::BoxFuture;
    use hickory_proto::rr::Name as DnsName;
    use proptest::prelude::*;
    use tokio::net::UdpSocket;

    use super::*;
    use crate::network::{Outside, Own};

    /// Every name has sixteen addresses.
    struct Everywhere;

    impl Outside for Everywhere {
        fn resolve(&self, _: &Name) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            async { Ok((1..=20).map(|last| format!("2606:2800::{last}").parse().unwrap()).collect()) }.boxed()
        }

        fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
            async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed()
        }

        fn datagrams(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<UdpSocket>> {
            async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed()
        }

        fn own(&self) -> Arc<[Own]> {
            [].into()
        }

        fn has_ipv6(&self) -> bool {
            true
        }
    }

    fn gate() -> Gate {
        Gate::new(model::NetworkPolicy::Internet, Arc::new(Everywhere))
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(DnsName::from_ascii(name).unwrap(), kind));
        message
    }

    async fn ask(message: &Message) -> Option<Message> {
        let answer = answer_datagram(&gate(), &message.to_vec().unwrap()).await?;
        Some(Message::from_vec(&answer).unwrap())
    }

    #[tokio::test]
    async fn addresses_are_told_and_nothing_else() {
        let said = ask(&question("Example.org.", RecordType::AAAA)).await.unwrap();
        assert_eq!((said.metadata.id, said.answers.len()), (7, 16));
        // As it was asked for: some check that the spelling comes back.
        assert_eq!(said.answers[0].name.to_ascii(), "Example.org.");
        for kind in [RecordType::A, RecordType::TXT, RecordType::MX, RecordType::HTTPS] {
            let said = ask(&question("example.org.", kind)).await.unwrap();
            assert_eq!(
                (said.metadata.response_code, said.answers.len()),
                (ResponseCode::NoError, 0),
                "{kind}"
            );
        }
        for kind in [RecordType::ANY, RecordType::AXFR, RecordType::IXFR] {
            let said = ask(&question("example.org.", kind)).await.unwrap();
            assert_eq!(said.metadata.response_code, ResponseCode::Refused, "{kind}");
        }
        for name in
            ["localhost.", "router.", ".", "1.0.0.127.", "a\\.b.org.", "*.example.org.", "ex ample.org."]
        {
            let Ok(name) = DnsName::from_ascii(name) else { continue };
            let said = ask(&question(&name.to_ascii(), RecordType::A)).await.unwrap();
            assert_eq!(said.metadata.response_code, ResponseCode::NXDomain, "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_no_plain_question_is_not_answered_as_one() {
        let plain = || question("example.org.", RecordType::AAAA);
        let mut answer = plain();
        answer.metadata.message_type = MessageType::Response;
        assert!(ask(&answer).await.is_none());
        let mut update = plain();
        update.metadata.op_code = OpCode::Update;
        assert_eq!(ask(&update).await.unwrap().metadata.response_code, ResponseCode::NotImp);
        let mut two = plain();
        two.add_query(two.queries[0].clone());
        assert_eq!(ask(&two).await.unwrap().metadata.response_code, ResponseCode::FormErr);
        let mut chaos = plain();
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(ask(&chaos).await.unwrap().metadata.response_code, ResponseCode::Refused);
        assert!(answer_datagram(&gate(), &[0; 11]).await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_for_a_datagram_says_so() {
        let long = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "org.".to_owned()].join(".");
        let mut asked = question(&long, RecordType::AAAA);
        let said = ask(&asked).await.unwrap();
        assert!(said.metadata.truncation && said.answers.is_empty());
        let over_tcp = answer(&gate(), &asked.to_vec().unwrap(), false).await.unwrap();
        assert_eq!(Message::from_vec(&over_tcp).unwrap().answers.len(), 16);
        let mut extended = Edns::new();
        extended.set_max_payload(60_000);
        asked.set_edns(extended);
        let bytes = answer_datagram(&gate(), &asked.to_vec().unwrap()).await.unwrap();
        assert!(bytes.len() <= usize::from(LARGEST_DATAGRAM));
        assert_eq!(Message::from_vec(&bytes).unwrap().answers.len(), 16);
    }

    proptest! {
        #[test]
        fn no_datagram_upsets_the_resolver_or_gets_a_long_answer(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let answer = answer_datagram(&gate(), &bytes).now_or_never();
            if let Some(Some(answer)) = answer {
                prop_assert!(answer.len() <= usize::from(LARGEST_DATAGRAM));
            }
        }
    }
}
