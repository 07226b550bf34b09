//! What is printed cannot steer a terminal (SEC37), checked by an automaton that plays one.

#![cfg(feature = "driver")]

use rs_session::history::visible;
use rs_session::operations::objects::harmless;

/// A terminal that only knows what would be more than printing: it is in its ground state or it has been steered.
///
/// It is written from the terminals' side (ECMA-48 and what xterm adds) and shares nothing with the code it judges.
fn steers(text: &str) -> Option<char> {
    text.chars().find(|&c| match u32::from(c) {
        // Newline and tab move on, and do no more.
        0x09 | 0x0a => false,
        // C0, DEL and C1: cursor, bells, escape sequences in 7 and 8 bits.
        0x00..=0x1f | 0x7f..=0x9f => true,
        // Directions: marks, embeddings, overrides, isolates.
        0x061c | 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069 => true,
        // Separators that some programs take for an end of line.
        0x2028 | 0x2029 => true,
        // Invisible: what one sees is not what one copies.
        0x200b..=0x200d | 0x2060 | 0xfeff | 0xe0001 | 0xe0020..=0xe007f => true,
        _ => false,
    })
}

/// The whole judgement on one text.
fn judge(text: &str) {
    for shown in [harmless(text).into_owned(), visible(text, "  ")] {
        assert_eq!(steers(&shown), None, "{text:?} becomes {shown:?}");
        assert_eq!(shown.matches('\n').count(), text.matches('\n').count(), "no line more: {text:?}");
    }
}

/// Control bytes in 7 and 8 bits, and what makes sequences of them.
fn control_bytes() -> Vec<u8> {
    (0x00..=0x1f).chain(0x7f..=0x9f).chain(*b"[]PX^_\\#(c78=>m;?0").collect()
}

#[test]
fn sec37_no_sequence_of_up_to_three_control_bytes_steers_a_terminal() {
    let bytes = control_bytes();
    let mut judged = 0_u32;
    for &a in &bytes {
        judge(&String::from_utf8_lossy(&[a]));
        judge(&char::from(a).to_string());
        for &b in &bytes {
            judge(&String::from_utf8_lossy(&[a, b]));
            for &c in &bytes {
                // As bytes of a stream, and each as the character of that number.
                judge(&String::from_utf8_lossy(&[a, b, c]));
                judge(&[a, b, c].map(char::from).iter().collect::<String>());
                judged += 2;
            }
        }
    }
    println!("{judged} sequences of three");
}

#[test]
fn sec37_no_named_family_of_escapes_steers_a_terminal() {
    let families = [
        ("clear", "\u{1b}[2J\u{1b}[H"),
        ("colour", "\u{1b}[31;1m"),
        ("cursor up, overwrite", "\u{1b}[A\u{1b}[2K"),
        ("8-bit CSI", "\u{9b}31m"),
        ("title", "\u{1b}]0;owned\u{7}"),
        ("title, 8 bits", "\u{9d}0;owned\u{9c}"),
        ("hyperlink", "\u{1b}]8;;http://example.invalid\u{1b}\\click\u{1b}]8;;\u{1b}\\"),
        ("clipboard", "\u{1b}]52;c;cm0gLXJmIC8=\u{7}"),
        ("colour palette", "\u{1b}]4;1;rgb:00/00/00\u{7}"),
        ("device control", "\u{1b}P$q\"p\u{1b}\\"),
        ("sixel", "\u{90}q#0~\u{9c}"),
        ("application command", "\u{1b}_Gf=32;AAAA\u{1b}\\"),
        ("privacy message", "\u{1b}^secret\u{1b}\\"),
        ("start of string", "\u{1b}Xhidden\u{1b}\\"),
        ("single shifts", "\u{1b}N\u{1b}O\u{8e}\u{8f}"),
        ("reset", "\u{1b}c"),
        ("alignment", "\u{1b}#8"),
        ("character sets", "\u{1b}(0lqqk\u{1b}(B\u{e}\u{f}"),
        ("reports that type back", "\u{1b}[c\u{1b}[6n\u{1b}[21t\u{5}"),
        ("bracketed paste", "\u{1b}[200~echo owned\n\u{1b}[201~"),
        ("modes", "\u{1b}[?1049h\u{1b}[?1000h\u{1b}[?2004h"),
        ("window", "\u{1b}[8;1;1t\u{1b}[2t"),
        ("keypad", "\u{1b}=\u{1b}>"),
        ("carriage return", "real\rfake"),
        ("backspace", "rm\u{8}\u{8}ls"),
        ("bell, form feed, vertical tab", "\u{7}\u{c}\u{b}"),
        ("next line, C1", "\u{85}forged"),
        ("override", "\u{202e}cod.exe\u{202c}"),
        ("isolate", "\u{2066}a\u{2069}\u{2067}b\u{2069}\u{2068}c\u{2069}"),
        ("embedding", "\u{202a}a\u{202c}\u{202b}b\u{202c}\u{202d}c\u{202c}"),
        ("marks", "\u{200e}\u{200f}\u{61c}"),
        ("separators", "a\u{2028}b\u{2029}c"),
        ("invisible", "a\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}b"),
        ("tags", "a\u{e0001}\u{e0041}\u{e007f}"),
    ];
    for (name, text) in families {
        assert!(steers(text).is_some(), "{name}: the automaton knows it");
        judge(text);
    }
}

#[test]
fn sec37_control_text_as_it_came_steers() {
    assert_eq!(steers("a\u{1b}[2Jb"), Some('\u{1b}'));
    assert_eq!(steers("plain ü 日本 text\n\twith lines"), None);
}

proptest::proptest! {
    #[test]
    fn sec37_no_text_steers_a_terminal(text in ".*") {
        judge(&text);
    }

    #[test]
    fn sec37_no_bytes_steer_a_terminal(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        judge(&String::from_utf8_lossy(&bytes));
    }
}
