//! Text that strangers wrote, and that is kept and shown: bounded, and with nothing in it that could draw over a terminal.

/// What such text is made of, where it is not: `most` bytes of it at most, and none of its control characters.
pub fn plain(text: &str, most: usize) -> String {
    let mut plain: String = text.chars().filter(|c| !c.is_control()).take(most).collect();
    plain.truncate(plain.floor_char_boundary(most));
    plain
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
        for most in 0..12 {
            let plain = plain("grün\n grün grün", most);
            assert!(is_plain(&plain, most) && plain.len() + 1 >= most, "{most}: {plain:?}");
        }
    }
}
