//! Text as it streams by, line for line.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::commit::{Commitments, Masking};
use super::rules::{BLOCK_END, Found, Rules};
use super::{Masked, PIECE_BYTES_MAX, Piece, Released};

/// Most bytes of an unfinished line that are held back. Longer lines are looked at in windows of this size.
pub const WINDOW_BYTES: usize = 64 * 1024;
/// Longest secret, with the name in front of it, that is found wherever a window ends, in bytes. One that is longer and
/// was found is masked to the end of its word, however long that is.
pub const SECRET_BYTES_MAX: usize = 16 * 1024;
/// Longest line within a block of several lines, in bytes.
const BLOCK_LINE_BYTES_MAX: usize = 400;

/// Where released text and markers go.
pub(super) trait Sink {
    fn text(&mut self, text: &str);
    fn finish(&mut self, masking: Masking);
}

impl Sink for Released {
    fn text(&mut self, text: &str) {
        Self::text(self, text);
    }

    fn finish(&mut self, masking: Masking) {
        masking.finish(self);
    }
}

/// Masks one text that comes in pieces.
///
/// ```
/// use std::sync::Arc;
/// use rs_session::redact::{Commitments, MaskKey, Rules, TextMasker};
/// use uuid::Uuid;
///
/// let mut masker = TextMasker::new(Arc::new(Rules::known()));
/// let mut commitments = Commitments::new(MaskKey::from_bytes([7; 32]), Uuid::nil());
/// assert!(masker.push("pass", &mut commitments).is_empty(), "it might become a secret");
/// let pieces = masker.push("word=hunter2\n", &mut commitments);
/// assert_eq!(pieces[0].text, "password=[masked: password, 7 bytes]\n");
/// assert!(masker.finish(&mut commitments).is_empty());
/// ```
#[derive(Debug)]
pub struct TextMasker {
    rules: Arc<Rules>,
    /// The last released character of a long line, and behind it what is held back.
    buffer: String,
    context: usize,
    open: Option<Open>,
    /// Indentation of the `data:` of a Kubernetes object whose lines go by.
    data: Option<usize>,
}

/// A secret whose end has not come yet.
#[derive(Debug)]
enum Open {
    /// A private key over several lines. `owed`: a line end came that belongs to it only if it goes on.
    Block { masking: Masking, owed: bool },
    /// One that is longer than [`SECRET_BYTES_MAX`].
    Word(Masking),
}

impl TextMasker {
    /// Masks by these rules.
    #[must_use]
    pub const fn new(rules: Arc<Rules>) -> Self {
        Self { rules, buffer: String::new(), context: 0, open: None, data: None }
    }

    /// Takes the next piece of the text and returns what can no longer be part of a secret.
    pub fn push(&mut self, text: &str, commitments: &mut Commitments) -> Vec<Piece> {
        let mut out = Released::default();
        self.push_to(text, commitments, &mut out);
        out.into_pieces()
    }

    /// The text has ended: returns what was held back.
    pub fn finish(&mut self, commitments: &mut Commitments) -> Vec<Piece> {
        let mut out = Released::default();
        self.finish_to(commitments, &mut out);
        out.into_pieces()
    }

    /// Whether `text` would come out of [`Self::push`] as it is, and nothing of it held back.
    pub(super) fn passes(&self, text: &str) -> bool {
        self.is_between_lines()
            && text.len() <= PIECE_BYTES_MAX
            && text.ends_with('\n')
            && self.rules.first_suspect(text).is_none()
    }

    /// Whether nothing that went by bears upon what comes.
    const fn is_between_lines(&self) -> bool {
        self.buffer.is_empty() && self.open.is_none() && self.data.is_none()
    }

    pub(super) fn push_to(&mut self, mut text: &str, commitments: &mut Commitments, out: &mut impl Sink) {
        loop {
            text = self.release_harmless(text, out);
            let Some(line) = text.split_inclusive('\n').next() else { return };
            self.push_line(line, commitments, out);
            text = &text[line.len()..];
        }
    }

    /// Releases the whole lines at the beginning that need no look, and returns the rest.
    fn release_harmless<'a>(&self, text: &'a str, out: &mut impl Sink) -> &'a str {
        if !self.is_between_lines() {
            return text;
        }
        let whole = || text.rfind('\n').map_or(0, |end| end + 1);
        let (harmless, rest) = text.split_at(self.rules.first_suspect(text).unwrap_or_else(whole));
        out.text(harmless);
        rest
    }

    /// Takes a line, or what there is of it.
    fn push_line(&mut self, line: &str, commitments: &mut Commitments, out: &mut impl Sink) {
        let (mut rest, ends) = line.strip_suffix('\n').map_or((line, false), |line| (line, true));
        loop {
            let room = WINDOW_BYTES - (self.buffer.len() - self.context);
            let (fits, later) = rest.split_at(rest.floor_char_boundary(room));
            self.buffer.push_str(fits);
            rest = later;
            if rest.is_empty() {
                break;
            }
            self.window(commitments, out);
        }
        if ends {
            self.line(true, commitments, out);
        }
    }

    pub(super) fn finish_to(&mut self, commitments: &mut Commitments, out: &mut impl Sink) {
        self.line(false, commitments, out);
        match self.open.take() {
            Some(Open::Block { masking, owed }) => {
                out.finish(masking);
                if owed {
                    out.text("\n");
                }
            }
            Some(Open::Word(masking)) => out.finish(masking),
            None => {}
        }
        self.data = None;
    }

    /// The buffer holds a line to its end.
    fn line(&mut self, ends: bool, commitments: &mut Commitments, out: &mut impl Sink) {
        let Some(at) = self.go_on(ends, out) else { return self.forget() };
        let found = self.find(at);
        let mut opened = None;
        let told = self.tell(at, self.buffer.len(), &found, commitments, out, &mut opened);
        debug_assert_eq!(told, self.buffer.len());
        match opened {
            Some(masking) if found.last().is_some_and(|found| found.opens) => {
                self.open = Some(Open::Block { masking, owed: ends });
            }
            opened => {
                if let Some(masking) = opened {
                    out.finish(masking);
                }
                if ends {
                    out.text("\n");
                }
            }
        }
        self.forget();
    }

    /// The buffer is full, and the line goes on: releases what lies far enough before the end.
    fn window(&mut self, commitments: &mut Commitments, out: &mut impl Sink) {
        let Some(at) = self.go_on(false, out) else { return self.keep_context(self.buffer.len()) };
        let found = self.find(at);
        let mut cut = self.buffer.floor_char_boundary((self.buffer.len() - SECRET_BYTES_MAX).max(at));
        while let Some(crossing) = found.iter().find(|found| found.from < cut && cut < found.secret.end) {
            if crossing.from <= at {
                // It fills more than a secret may: masked as far as it was seen, and to the end of its word.
                let first = std::slice::from_ref(crossing);
                let mut opened = None;
                self.tell(at, self.buffer.len(), first, commitments, out, &mut opened);
                self.open = opened.map(Open::Word);
                return self.keep_context(self.buffer.len());
            }
            cut = crossing.from;
        }
        let mut opened = None;
        self.tell(at, cut, &found, commitments, out, &mut opened);
        if let Some(masking) = opened {
            out.finish(masking);
        }
        self.keep_context(cut);
    }

    /// Goes on with an open secret. Returns where the text behind it begins; `None` when all of it belongs to it.
    fn go_on(&mut self, ends: bool, out: &mut impl Sink) -> Option<usize> {
        let rest = &self.buffer[self.context..];
        match self.open.take() {
            None => Some(self.context),
            Some(Open::Word(mut masking)) => {
                let word = rest.find(|char: char| char.is_whitespace() || "\"'<>".contains(char));
                masking.take(&rest[..word.unwrap_or(rest.len())]);
                if word.is_none() && !ends {
                    self.open = Some(Open::Word(masking));
                    return None;
                }
                out.finish(masking);
                Some(self.context + word.unwrap_or(rest.len()))
            }
            Some(Open::Block { mut masking, owed }) => {
                let end = block_end(rest);
                if end.is_none() && !is_block_line(rest) {
                    out.finish(masking);
                    if owed {
                        out.text("\n");
                    }
                    return Some(self.context);
                }
                if owed {
                    masking.take("\n");
                }
                masking.take(&rest[..end.unwrap_or(rest.len())]);
                if let Some(end) = end {
                    out.finish(masking);
                    return Some(self.context + end);
                }
                self.open = Some(Open::Block { masking, owed: ends });
                None
            }
        }
    }

    fn find(&mut self, at: usize) -> Vec<Found> {
        let found = self.rules.find(&self.buffer, at);
        if self.context > 0 {
            return found;
        }
        match self.kubernetes() {
            Some(secret) if found.iter().all(|other| other.secret.end <= secret.secret.start) => {
                found.into_iter().chain([secret]).collect()
            }
            _ => found,
        }
    }

    /// Releases `at..until` with what was found masked. A secret that reaches to `until` is left open for the caller.
    fn tell(
        &self,
        at: usize,
        until: usize,
        found: &[Found],
        commitments: &mut Commitments,
        out: &mut impl Sink,
        opened: &mut Option<Masking>,
    ) -> usize {
        let mut told = at;
        for Found { secret, form, .. } in found.iter().filter(|found| found.secret.end <= until) {
            let start = secret.start.max(told);
            out.text(&self.buffer[told..start]);
            let mut masking = commitments.begin(form);
            masking.take(&self.buffer[start..secret.end]);
            told = secret.end;
            if told == until {
                *opened = Some(masking);
                return told;
            }
            out.finish(masking);
        }
        out.text(&self.buffer[told..until]);
        until
    }

    /// A value under `data:` of a Kubernetes object that is base64.
    fn kubernetes(&mut self) -> Option<Found> {
        let line = self.buffer.as_str();
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        if matches!(text.trim_end(), "data:" | "binaryData:") {
            self.data = Some(indent);
            return None;
        }
        if text.is_empty() || indent <= self.data? {
            self.data = self.data.filter(|_| text.is_empty());
            return None;
        }
        let (name, value) = text.split_once(": ")?;
        let value = value.trim_end();
        is_encoded(value).then(|| {
            let start = indent + name.len() + 2;
            let secret = start..start + value.len();
            Found { secret, from: 0, form: "kubernetes-secret".to_owned(), opens: false }
        })
    }

    fn forget(&mut self) {
        self.buffer.clear();
        self.context = 0;
    }

    /// Drops what was released but its last character, by which the next window sees where it stands.
    fn keep_context(&mut self, cut: usize) {
        let context = self.buffer[..cut].chars().next_back().map_or(0, char::len_utf8);
        self.buffer.drain(..cut - context);
        self.context = context;
    }
}

/// Base64 of text, or of something long.
fn is_encoded(value: &str) -> bool {
    const BINARY_CHARS_MIN: usize = 40;
    value.len() >= BINARY_CHARS_MIN && !value.contains(' ') && STANDARD.decode(value).is_ok()
        || STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok()).is_some_and(|text| {
            !text.is_empty() && !text.chars().any(|char| char.is_control() && !char.is_whitespace())
        })
}

/// Where the line that closes a block ends.
fn block_end(line: &str) -> Option<usize> {
    let head = &line[..line.floor_char_boundary(BLOCK_LINE_BYTES_MAX)];
    let end = head.find("END ")?;
    let name = end + head[end..].find(BLOCK_END)? + BLOCK_END.len();
    let dashes = head[name..].find("----")? + name;
    Some(dashes + head[dashes..].bytes().take_while(|byte| *byte == b'-').count())
}

/// A line as it stands within a key: base64, a header such as `DEK-Info: …`, or nothing; perhaps quoted or indented.
fn is_block_line(line: &str) -> bool {
    if line.len() > BLOCK_LINE_BYTES_MAX {
        return false;
    }
    let bare = line.trim_start_matches([' ', '\t', '>', '|', '#', '*', '"', '\'', '+']);
    let bare = bare.trim_end_matches(['\r', '"', '\'', ',', '+', ' ', '\t', '\\']);
    let header = ["Proc-Type:", "DEK-Info:", "Comment:", "Version:", "Subject:", "Hash:", "Charset:"];
    let encoded = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    bare.bytes().all(encoded) || header.iter().any(|header| bare.starts_with(header))
}

impl Rules {
    /// Masks a text that is whole.
    #[must_use]
    pub fn mask(&self, text: &str, commitments: &mut Commitments) -> Piece {
        let mut masker = TextMasker::new(Arc::new(self.clone()));
        let mut out = Released::default();
        masker.push_to(text, commitments, &mut out);
        masker.finish_to(commitments, &mut out);
        out.into_one()
    }

    /// Masks a text that is whole, and in it also each of `secrets`, which were found elsewhere.
    pub(super) fn mask_also(&self, text: &str, secrets: &[String], commitments: &mut Commitments) -> Piece {
        let mut all = Piece::default();
        let mut rest = text;
        while let Some((at, secret)) = first_of(rest, secrets) {
            let before = self.mask(&rest[..at], commitments);
            append(&mut all, before);
            let mut out = Released::default();
            let mut masking = commitments.begin("repeated");
            masking.take(secret);
            Sink::finish(&mut out, masking);
            append(&mut all, out.into_one());
            rest = &rest[at + secret.len()..];
        }
        append(&mut all, self.mask(rest, commitments));
        all
    }

    /// The secrets in a line, as they stand there.
    pub(super) fn secrets(&self, line: &str) -> Vec<String> {
        line.lines()
            .flat_map(|line| self.find(line, 0).into_iter().map(|found| line[found.secret].to_owned()))
            .map(|secret| secret.trim_matches(['"', '\'']).to_owned())
            .filter(|secret| !secret.is_empty())
            .collect()
    }
}

fn first_of<'a>(text: &str, secrets: &'a [String]) -> Option<(usize, &'a str)> {
    let places = secrets.iter().filter_map(|secret| Some((text.find(secret)?, secret.as_str())));
    places.min_by_key(|(at, secret)| (*at, usize::MAX - secret.len()))
}

fn append(all: &mut Piece, Piece { text, masked }: Piece) {
    let masked: Vec<Masked> = masked;
    all.text.push_str(&text);
    all.masked.extend(masked);
}
