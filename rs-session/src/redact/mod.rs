//! Known secret forms are masked before anything is stored or shown.
//!
//! A node prints what its operating system says, and that can hold secrets: keys, tokens, passwords. What goes on record and
//! out to the engineer passes through here first. Each secret is replaced by a marker such as
//! `[masked: sas-token, 88 bytes]`, and the record keeps for each a [`Masked`]: form, length and a salted commitment. The
//! secret itself is kept nowhere. An owner who still has the original can prove with the [`MaskKey`] what was masked.
//!
//! * [`Rules`]: the known forms (module `forms`) and the owner's own ([`parse_patterns`]);
//! * [`TextMasker`]: masks text as it streams by, whatever pieces it comes in;
//! * [`ObjectMasker`]: the same for JSON lines, inside strings and by property name; JSON stays valid;
//! * [`ContentMasker`]: a session's contents on their way to the record.
//!
//! What a masker says does not depend on where the pieces of a text were cut: text is held back until it can no longer be
//! part of a secret. That is a line at most, or [`WINDOW_BYTES`] of a longer one. A block of several lines (a private
//! key) is held until its end, without being kept. So memory is bounded whatever comes.
//!
//! Forms can only be known ones. A secret that looks like any other word, without a name beside it that says so, passes; the
//! owner can add a pattern for it, or take it out of the record afterwards.

mod commit;
mod contents;
mod forms;
mod objects;
mod patterns;
mod rules;
mod screen;
mod text;

use rs_consent::digest::Sha256 as Digest;
use serde::{Deserialize, Serialize};

pub use commit::{Commitments, MASK_KEY_BYTES, MaskKey};
pub use contents::ContentMasker;
pub use forms::KNOWN_FORMS;
pub use objects::{NAME_BYTES_MAX, ObjectMasker};
pub use patterns::{
    PATTERN_BYTES_MAX, PATTERNS_BYTES_MAX, PATTERNS_MAX, Pattern, PatternError, parse_patterns,
};
pub use rules::Rules;
pub use text::{SECRET_BYTES_MAX, TextMasker, WINDOW_BYTES};

/// Most bytes of text in one released piece, give or take one marker.
pub const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Most masked places in one released piece.
pub const PIECE_MASKS_MAX: usize = 256;

/// One place where something was masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Masked {
    /// Name of the form, for example `sas-token`.
    pub form: String,
    /// How many bytes were masked.
    pub bytes: u64,
    /// Number of the masked place in its session, from 0; it leads to the salt, see [`MaskKey::commitment`].
    pub number: u64,
    /// Salted commitment to the masked bytes.
    pub commitment: Digest,
}

/// Text that may go out, and what was masked in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// The text, with markers where something was masked.
    pub text: String,
    /// One for each marker, in order.
    pub masked: Vec<Masked>,
}

/// Collects what is released, in pieces that fit into records.
#[derive(Debug, Default)]
pub(crate) struct Released {
    pieces: Vec<Piece>,
}

impl Released {
    fn room(&mut self) -> &mut Piece {
        let full = self
            .pieces
            .last()
            .is_none_or(|piece| piece.text.len() >= PIECE_BYTES_MAX || piece.masked.len() >= PIECE_MASKS_MAX);
        if full {
            self.pieces.push(Piece::default());
        }
        let last = self.pieces.len() - 1;
        &mut self.pieces[last]
    }

    fn text(&mut self, mut text: &str) {
        while !text.is_empty() {
            let piece = self.room();
            let fits = text.floor_char_boundary(PIECE_BYTES_MAX - piece.text.len());
            // A character that no longer fits ends the piece a few bytes late rather than never.
            let fits = if fits == 0 { text.ceil_char_boundary(1) } else { fits };
            let (now, later) = text.split_at(fits);
            piece.text.push_str(now);
            text = later;
        }
    }

    fn marker(&mut self, marker: &str, masked: Masked) {
        let piece = self.room();
        piece.text.push_str(marker);
        piece.masked.push(masked);
    }

    pub(crate) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// Everything as one piece, for texts that are short.
    pub(crate) fn into_one(self) -> Piece {
        self.pieces.into_iter().fold(Piece::default(), |mut all, piece| {
            all.text.push_str(&piece.text);
            all.masked.extend(piece.masked);
            all
        })
    }
}

/// What stands in the place of a secret.
fn marker(form: &str, bytes: u64) -> String {
    format!("{MARKER_BEGIN}{form}, {bytes} bytes]")
}

const MARKER_BEGIN: &str = "[masked: ";
