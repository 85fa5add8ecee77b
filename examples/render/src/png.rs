//! A picture as a PNG (W3C, third edition), its pixels stored without compression (RFC 1950, 1951).

use crate::arguments::Size;

/// Longest block that DEFLATE stores as it is.
const BLOCK: usize = 65535;

/// `rows` from the top, three bytes a pixel.
pub fn encode(size: Size, rows: &[Vec<u8>]) -> Vec<u8> {
    let mut header = Vec::from(size.width.to_be_bytes());
    header.extend(size.height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]); // eight bits, red green blue, not interlaced

    let mut scanlines = Vec::new();
    for row in rows {
        scanlines.push(0); // no filter
        scanlines.extend(row);
    }
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, *b"IHDR", &header);
    chunk(&mut png, *b"IDAT", &zlib(&scanlines));
    chunk(&mut png, *b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    png.extend(be_length(data));
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    let sum = crc32(&png[start..]);
    png.extend(sum.to_be_bytes());
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = data.chunks(BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let last = blocks.peek().is_none();
        let length = u16::try_from(block.len()).expect("a block is at most 65535 bytes");
        stream.push(u8::from(last));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler32(data).to_be_bytes());
    stream
}

fn be_length(data: &[u8]) -> [u8; 4] {
    u32::try_from(data.len()).expect("a picture is at most 8192 x 8192").to_be_bytes()
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

fn adler32(data: &[u8]) -> u32 {
    let (low, high) = data.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65521;
        (low, (high + low) % 65521)
    });
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_the_standard_ones() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn a_reader_finds_the_pixels_again() {
        // 200 x 120: more than one stored block.
        let size = Size { width: 200, height: 120 };
        let rows: Vec<Vec<u8>> =
            (0..120_u32).map(|y| (0..600_u32).map(|x| (x * 7 + y * 13) as u8).collect()).collect();
        let png = encode(size, &rows);

        let mut rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("signature");
        let header = taken(&mut rest, b"IHDR");
        assert_eq!(header, [0, 0, 0, 200, 0, 0, 0, 120, 8, 2, 0, 0, 0]);
        let scanlines = inflated(taken(&mut rest, b"IDAT"));
        let read: Vec<Vec<u8>> = scanlines.chunks(601).map(|line| line[1..].to_vec()).collect();
        assert_eq!(read, rows);
        assert!(taken(&mut rest, b"IEND").is_empty() && rest.is_empty());
    }

    /// Cuts the next chunk off and checks its sum.
    fn taken<'a>(rest: &mut &'a [u8], kind: &[u8; 4]) -> &'a [u8] {
        let length = u32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        let (body, after) = rest[4..].split_at(4 + length);
        assert_eq!(&body[..4], kind);
        assert_eq!(crc32(body).to_be_bytes(), after[..4]);
        *rest = &after[4..];
        &body[4..]
    }

    fn inflated(stream: &[u8]) -> Vec<u8> {
        assert_eq!(u16::from_be_bytes([stream[0], stream[1]]) % 31, 0);
        let (blocks, sum) = stream[2..].split_at(stream.len() - 6);
        let (mut data, mut at) = (Vec::new(), 0);
        loop {
            let length = u16::from_le_bytes([blocks[at + 1], blocks[at + 2]]);
            assert_eq!(!length, u16::from_le_bytes([blocks[at + 3], blocks[at + 4]]));
            data.extend(&blocks[at + 5..at + 5 + usize::from(length)]);
            let last = blocks[at] == 1;
            at += 5 + usize::from(length);
            if last {
                break;
            }
        }
        assert_eq!((at, &adler32(&data).to_be_bytes()[..]), (blocks.len(), sum));
        data
    }
}
