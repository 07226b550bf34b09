//! Any text through the maskers: where it is cut makes no difference, every mask opens to what stood there, and JSON stays JSON.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use rs_session::redact::{Commitments, MaskKey, Masked, ObjectMasker, Piece, Rules, TextMasker, parse_patterns};

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| Arc::new(Rules::known()));
const KEY: MaskKey = MaskKey::from_bytes([7; 32]);

fn commitments() -> Commitments {
    Commitments::new(KEY, Default::default())
}

fn join(pieces: Vec<Piece>) -> (String, Vec<Masked>) {
    pieces.into_iter().fold(Default::default(), |(mut text, mut masked): (String, Vec<Masked>), piece| {
        text.push_str(&piece.text);
        masked.extend(piece.masked);
        (text, masked)
    })
}

fn text(parts: &[&str]) -> (String, Vec<Masked>) {
    let (mut masker, mut commitments) = (TextMasker::new(RULES.clone()), commitments());
    let mut pieces: Vec<_> = parts.iter().flat_map(|part| masker.push(part, &mut commitments)).collect();
    pieces.extend(masker.finish(&mut commitments));
    join(pieces)
}

fn objects(parts: &[&str]) -> (String, Vec<Masked>) {
    let (mut masker, mut commitments) = (ObjectMasker::new(RULES.clone()), commitments());
    let mut pieces: Vec<_> = parts.iter().flat_map(|part| masker.push(part, &mut commitments)).collect();
    pieces.extend(masker.finish(&mut commitments));
    join(pieces)
}

fuzz_target!(|data: &[u8]| {
    let Some((&[a, b], data)) = data.split_first_chunk::<2>() else { return };
    let Ok(input) = std::str::from_utf8(data) else { return };
    let at = input.floor_char_boundary(usize::from(u16::from_be_bytes([a, b])) % (input.len() + 1));
    let (left, right) = input.split_at(at);
    let whole = text(&[input]);
    assert_eq!(text(&[left, right]), whole);
    let mut rest = input;
    let mut shown = whole.0.as_str();
    for masked in &whole.1 {
        let marker = format!("[masked: {}, {} bytes]", masked.form, masked.bytes);
        // Ordinary text may hold the like of a marker: the true one stands where the original goes on differently.
        let place = shown
            .match_indices(&marker)
            .map(|(place, _)| place)
            .find(|place| {
                rest.starts_with(&shown[..*place])
                    && rest.as_bytes().get(*place..*place + masked.bytes as usize).is_some_and(|secret| {
                        KEY.commitment(Default::default(), masked.number, secret) == masked.commitment
                    })
            })
            .expect("every mask opens to what stood there");
        rest = &rest[place + masked.bytes as usize..];
        shown = &shown[place + marker.len()..];
    }
    assert_eq!(rest, shown);
    let json = objects(&[input]);
    assert_eq!(objects(&[left, right]), json);
    let quoted = serde_json::json!({ "Text": input, "Password": input }).to_string();
    serde_json::from_str::<serde_json::Value>(&objects(&[&quoted]).0).expect("JSON stays JSON");
    let _ = parse_patterns(input);
});
