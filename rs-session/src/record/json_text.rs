//! JSON strings as `serde_json` writes them, byte for byte, many bytes at a step: output is by far the most of a record.

/// So many bytes are looked at together where all stand for themselves.
const STEP_BYTES: usize = 32;
/// And so many behind those.
const SHORT_STEP_BYTES: usize = 8;

/// Appends `text` as a JSON string, quotes included.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    // Room for a line end every 32 bytes; past that it grows.
    out.reserve(text.len() + text.len() / STEP_BYTES + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, behind) = rest.split_at(plain(rest));
        out.extend_from_slice(plain);
        let Some((byte, behind)) = behind.split_first() else { break };
        escape(*byte, out);
        rest = behind;
    }
    out.push(b'"');
}

/// How many bytes at the beginning stand for themselves.
fn plain(bytes: &[u8]) -> usize {
    let at = plain_steps::<STEP_BYTES>(bytes);
    let at = at + plain_steps::<SHORT_STEP_BYTES>(&bytes[at..]);
    at + bytes[at..].iter().take_while(|byte| !is_special(**byte)).count()
}

/// How many bytes the steps at the beginning have in which all stand for themselves.
fn plain_steps<const STEP: usize>(bytes: &[u8]) -> usize {
    // Without a branch within a step, so that the compiler looks at all its bytes at once.
    let is_plain = |step: &&[u8; STEP]| !step.iter().fold(false, |any, byte| any | is_special(*byte));
    bytes.as_chunks::<STEP>().0.iter().take_while(is_plain).count() * STEP
}

const fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        b'"' | b'\\' => byte,
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let digit = |value: u8| DIGITS[usize::from(value & 0xf)];
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write(text, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn each_character_below_256_is_written_as_serde_json_writes_it() {
        for character in (0..=255).map(char::from) {
            for text in [format!("{character}"), format!("{}{character}end", "x".repeat(STEP_BYTES + 3))] {
                assert_eq!(written(&text), serde_json::to_string(&text).expect("JSON"));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_serde_json_writes_it(text in "(\\PC|[\\x00-\\x7f]){0,200}") {
            prop_assert_eq!(written(&text), serde_json::to_string(&text).expect("JSON"));
        }
    }
}
