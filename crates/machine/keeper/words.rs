//! What is said between a guest's envoy and its keeper: packets over a Unix socket, with files. Compiled into both.

/// A program to be begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Whether its input is a terminal, and its own.
    pub terminal: bool,
    pub cwd: Vec<u8>,
    pub args: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
}

impl Program {
    /// As it is written into the file that comes with [`RUN`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut number = |number: u32| bytes.extend(number.to_le_bytes());
        [self.uid, self.gid, u32::from(self.terminal), self.groups.len() as u32]
            .iter()
            .chain(&self.groups)
            .for_each(|one| number(*one));
        number(self.args.len() as u32);
        number(self.env.len() as u32);
        for text in [&self.cwd].into_iter().chain(&self.args).chain(&self.env) {
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text);
        }
        bytes
    }

    /// `None` if it is cut short.
    pub fn decode(bytes: &[u8]) -> Option<Program> {
        let mut rest = bytes;
        let [uid, gid, terminal, groups] = [(); 4].map(|()| number(&mut rest));
        let groups = (0..groups?).map(|_| number(&mut rest)).collect::<Option<_>>()?;
        let (args, env) = (number(&mut rest)?, number(&mut rest)?);
        let cwd = text(&mut rest)?;
        let mut texts = |count: u32| (0..count).map(|_| text(&mut rest)).collect::<Option<Vec<_>>>();
        let (args, env) = (texts(args)?, texts(env)?);
        Some(Program { uid: uid?, gid: gid?, groups, terminal: terminal? == 1, cwd, args, env })
    }
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*bytes))
}

fn text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = number(rest)? as usize;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text.to_vec())
}

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub kind: u8,
    /// Which program; nought is the guest's own.
    pub number: u32,
    /// A signal, an exit code, an error number.
    pub value: i32,
}

impl Packet {
    pub const LENGTH: usize = 9;

    pub fn encode(self) -> [u8; Packet::LENGTH] {
        let mut bytes = [self.kind; Packet::LENGTH];
        bytes[1..5].copy_from_slice(&self.number.to_le_bytes());
        bytes[5..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }

    /// `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Packet> {
        let (kind, rest) = bytes.split_first()?;
        let (number, value) = rest.split_first_chunk()?;
        let value = <[u8; 4]>::try_from(value).ok()?;
        Some(Packet { kind: *kind, number: u32::from_le_bytes(*number), value: i32::from_le_bytes(value) })
    }
}

/// To the keeper: begin a program. With it come the file that says which, and its terminal or its input and outputs.
pub const RUN: u8 = b'R';
/// To the keeper: send it a signal.
pub const SIGNAL: u8 = b'S';
/// From the keeper: the program runs.
pub const BEGAN: u8 = b'B';
/// From the keeper: it will not, by this error number.
pub const FAILED: u8 = b'F';
/// From the keeper: it has ended with this code.
pub const ENDED: u8 = b'E';
