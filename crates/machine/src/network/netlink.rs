//! What is told to the kernel about a guest's network: an address, a route, a rule. The few messages are written here
//! by hand: they are needed by a process that must not have threads, before it gives up its powers.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::NETFILTER;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// The loopback device: the first of each network.
const LO: u32 = 1;

/// Gives the loopback device one more address.
pub fn add_address(address: impl Into<IpAddr>) -> io::Result<()> {
    const RTM_NEWADDR: u16 = 20;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    /// Usable at once, without asking neighbours whether they have it: there are none.
    const IFA_F_NODAD: u8 = 2;
    let address = address.into();
    let (number, bytes) = parts(address);
    let mut message = Message::new(RTM_NEWADDR, CREATE);
    message.put(&[number, bytes.len() as u8 * 8, IFA_F_NODAD, SCOPE_HOST]);
    message.put(&LO.to_ne_bytes());
    message.attribute(IFA_LOCAL, &bytes);
    message.attribute(IFA_ADDRESS, &bytes);
    tell(&socket(ROUTE)?, &[message])
}

/// Makes all addresses of a family local to this network, seen from `source`.
pub fn route_all(source: impl Into<IpAddr>) -> io::Result<()> {
    const RTM_NEWROUTE: u16 = 24;
    const RTA_OIF: u16 = 4;
    const RTA_PREFSRC: u16 = 7;
    const TABLE_LOCAL: u8 = 255;
    const PROTOCOL_STATIC: u8 = 4;
    const TYPE_LOCAL: u8 = 2;
    let (number, bytes) = parts(source.into());
    let scope = if bytes.len() == 4 { SCOPE_HOST } else { 0 };
    let mut message = Message::new(RTM_NEWROUTE, CREATE);
    // No bits of the destination are given: it is every one.
    message.put(&[number, 0, 0, 0, TABLE_LOCAL, PROTOCOL_STATIC, scope, TYPE_LOCAL]);
    message.put(&0u32.to_ne_bytes());
    message.attribute(RTA_OIF, &LO.to_ne_bytes());
    message.attribute(RTA_PREFSRC, &bytes);
    tell(&socket(ROUTE)?, &[message])
}

/// Hands TCP and UDP to all addresses but loopback's and `but` to the transparent socket on `port` of `to`.
pub fn catch<T: Into<IpAddr> + Copy>(to: T, port: u16, but: &[T]) -> io::Result<()> {
    let (number, bytes) = parts(to.into());
    let mut rule = Message::of(NEW_RULE, number, CREATE | APPEND);
    rule.text(1, TABLE);
    rule.text(2, CHAIN);
    rule.nest(4, |list| {
        // Where the destination stands in the header.
        let (at, length) = if bytes.len() == 4 { (16, 4) } else { (24, 16) };
        if bytes.len() == 4 {
            list.expression("payload", |load| load.load(at, 1));
            list.expression("cmp", |compare| compare.is_not(&[127]));
        }
        for other in but {
            list.expression("payload", |load| load.load(at, length));
            list.expression("cmp", |compare| compare.is_not(&parts((*other).into()).1));
        }
        list.expression("immediate", |set| set.set(1, &bytes));
        list.expression("immediate", |set| set.set(2, &port.to_be_bytes()));
        list.expression("tproxy", |tproxy| {
            tproxy.number(1, u32::from(number));
            tproxy.number(2, 1);
            tproxy.number(3, 2);
        });
    });
    let mut table = Message::of(NEW_TABLE, number, CREATE);
    table.text(1, TABLE);
    let mut chain = Message::of(NEW_CHAIN, number, CREATE);
    chain.text(1, TABLE);
    chain.text(3, CHAIN);
    chain.nest(4, |hook| {
        hook.number(1, PREROUTING);
        hook.number(2, MANGLE);
    });
    chain.text(7, "filter");
    tell(&socket(Some(NETFILTER))?, &[batch(BATCH_BEGIN), table, chain, rule, batch(BATCH_END)])
}

/// Addresses and routes: the protocol of number 0.
const ROUTE: Option<Protocol> = None;

const TABLE: &str = "sublet";
const CHAIN: &str = "out";

const NF_TABLES: u16 = 10;
const NEW_TABLE: u16 = NF_TABLES << 8;
const NEW_CHAIN: u16 = NF_TABLES << 8 | 3;
const NEW_RULE: u16 = NF_TABLES << 8 | 6;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const PREROUTING: u32 = 0;
/// The priority of what changes packets: -150.
const MANGLE: u32 = 0u32.wrapping_sub(150);

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
const ERROR: u16 = 2;

const SCOPE_HOST: u8 = 254;

/// The family's number and the bytes of an address.
fn parts(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (libc::AF_INET as u8, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6 as u8, address.octets().to_vec()),
    }
}

/// Begins or ends what is done as one.
fn batch(kind: u16) -> Message {
    let mut message = Message::new(kind, 0);
    let [high, low] = NF_TABLES.to_be_bytes();
    message.put(&[0, 0, high, low]);
    message
}

/// One message, as it grows. Everything in it is aligned to four bytes.
struct Message {
    bytes: Vec<u8>,
    acknowledged: bool,
}

impl Message {
    fn new(kind: u16, flags: u16) -> Message {
        // Only what changes something is answered; the ends of a batch are not.
        let acknowledged = flags != 0;
        let flags = flags | REQUEST | if acknowledged { ACKNOWLEDGE } else { 0 };
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        Message { bytes, acknowledged }
    }

    /// A message to the packet filter.
    fn of(kind: u16, family: u8, flags: u16) -> Message {
        let mut message = Message::new(kind, flags);
        message.put(&[family, 0, 0, 0]);
        message
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.put(value);
    }

    fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Message)) {
        let at = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        inside(self);
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, text: &str) {
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        self.attribute(kind, &bytes);
    }

    /// The packet filter counts in network order.
    fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_be_bytes());
    }

    fn expression(&mut self, name: &str, inside: impl FnOnce(&mut Message)) {
        self.nest(1, |element| {
            element.text(1, name);
            element.nest(2, inside);
        });
    }

    /// Loads bytes of the network header into the first register.
    fn load(&mut self, offset: u32, length: u32) {
        self.number(1, 1);
        self.number(2, 1);
        self.number(3, offset);
        self.number(4, length);
    }

    /// Goes on only if the first register holds something else.
    fn is_not(&mut self, value: &[u8]) {
        self.number(1, 1);
        self.number(2, 1);
        self.nest(3, |data| data.attribute(1, value));
    }

    /// Sets a register.
    fn set(&mut self, register: u32, value: &[u8]) {
        self.number(1, register);
        self.nest(2, |data| data.attribute(1, value));
    }

    fn finished(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }
}

fn socket(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

/// Sends messages as one, and waits for what is said of each.
fn tell(socket: &OwnedFd, messages: &[Message]) -> io::Result<()> {
    let bytes: Vec<u8> = messages.iter().flat_map(Message::finished).collect();
    send(socket, &bytes, SendFlags::empty())?;
    let mut wanted = messages.iter().filter(|message| message.acknowledged).count();
    let mut answers = [0; 8192];
    while wanted > 0 {
        // The kernel has answered by the time that it has taken the message: there is nothing to wait for.
        let (length, _) = recv(socket, &mut answers[..], RecvFlags::DONTWAIT)?;
        let mut rest = &answers[..length];
        while let Some((said, after)) = next_answer(rest) {
            rest = after;
            if let Some(number) = said {
                if number != 0 {
                    return Err(io::Error::from_raw_os_error(-number));
                }
                wanted = wanted.saturating_sub(1);
            }
        }
    }
    Ok(())
}

/// What the first of several answers says, if it says how something went, and those after it.
fn next_answer(answers: &[u8]) -> Option<(Option<i32>, &[u8])> {
    let length = u32::from_ne_bytes(answers.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(answers.get(4..6)?.try_into().ok()?);
    let said = answers.get(16..20)?;
    let number = i32::from_ne_bytes(said.try_into().ok()?);
    let after = answers.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
    Some(((kind == ERROR).then_some(number), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_the_kernel_reads_it() {
        let mut message = Message::new(24, CREATE);
        message.put(&[2, 0, 0]);
        message.nest(4, |inside| inside.text(1, "lo"));
        let bytes = message.finished();
        assert_eq!(bytes.len(), 16 + 4 + 4 + 8);
        assert_eq!(bytes[..8], [32, 0, 0, 0, 24, 0, 5, 4]);
        assert_eq!(bytes[16..], [2, 0, 0, 0, 12, 0, 4, 0x80, 7, 0, 1, 0, b'l', b'o', 0, 0]);
    }

    #[test]
    fn an_answer_cut_short_says_nothing() {
        assert!(next_answer(&[]).is_none() && next_answer(&[20, 0, 0, 0, 2, 0]).is_none());
        let mut answer = vec![20, 0, 0, 0, 2, 0];
        answer.resize(20, 0xff);
        assert_eq!(next_answer(&answer), Some((Some(-1), &[][..])));
    }
}
