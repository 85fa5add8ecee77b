//! Text that strangers wrote, and that is kept and shown: bounded, and with nothing in it that could draw over a terminal.

/// What such text is made of, where it is not: `most` bytes of it at most, and none of its control characters.
pub fn plain(text: &str, most: usize) -> String {
    first(text.chars().filter(|c| !c.is_control()), most)
}

/// The same, of several lines.
pub fn plain_lines(text: &str, most: usize) -> String {
    first(text.trim_end().chars().filter(|c| *c == '\n' || !c.is_control()), most)
}

fn first(text: impl Iterator<Item = char>, most: usize) -> String {
    let mut first: String = text.take(most).collect();
    first.truncate(first.floor_char_boundary(most));
    first
}

/// Whether it is such text already.
pub fn is_plain(text: &str, max_bytes: usize) -> bool {
    text.len() <= max_bytes && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_s_words_draw_nothing_over_a_terminal() {
        assert_eq!(plain("no \x1b[2Jprogram\n", 100), "no [2Jprogram");
        assert_eq!(plain("\u{9b}2J\r\t\0", 100), "2J");
        assert_eq!(plain_lines("one\r\n\x1b[2Jtwo\n\n", 100), "one\n[2Jtwo");
        for most in 0..12 {
            let plain = plain("grün\n grün grün", most);
            assert!(is_plain(&plain, most) && plain.len() + 1 >= most, "{most}: {plain:?}");
        }
    }
}
