//! JSON lines as they stream by: secrets inside strings, and values whose property name says that they are one.
//!
//! Strings are read, masked as text, and written again, so that an escape can neither hide nor split a secret and the
//! line stays JSON. What is no JSON passes as it is, each of its strings masked all the same.

use std::sync::Arc;

use super::Piece;
use super::Released;
use super::commit::{Commitments, Masking};
use super::forms::Check;
use super::rules::{Rules, check_of_name};
use super::text::{Sink, TextMasker, WINDOW_BYTES};

/// Longest property name that is looked at, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Deepest nesting in which names are told from values; deeper down every string counts as a value.
const DEPTH_MAX: usize = 128;
/// Longest number or word that is looked at in one piece, in bytes.
const SCALAR_BYTES_MAX: usize = 1024;

/// Masks JSON lines that come in pieces.
///
/// ```
/// use std::sync::Arc;
/// use rs_session::redact::{Commitments, MaskKey, ObjectMasker, Rules};
/// use uuid::Uuid;
///
/// let mut masker = ObjectMasker::new(Arc::new(Rules::known()));
/// let mut commitments = Commitments::new(MaskKey::from_bytes([7; 32]), Uuid::nil());
/// let pieces = masker.push("{\"Name\":\"sa\",\"Password\":1234}\n", &mut commitments);
/// let text: String = pieces.into_iter().map(|piece| piece.text).collect();
/// assert_eq!(text, "{\"Name\":\"sa\",\"Password\":\"[masked: password, 4 bytes]\"}\n");
/// ```
#[derive(Debug)]
pub struct ObjectMasker {
    inner: TextMasker,
    /// For each open bracket, whether it is one of an object.
    nesting: Vec<bool>,
    names_follow: bool,
    name: String,
    secret: Option<(&'static str, Check)>,
    state: State,
    escape: Escape,
}

#[derive(Debug)]
enum State {
    Between,
    Scalar(String),
    Name,
    Text,
    /// A value whose name says that it is a secret; held until it is whole.
    Secret(String),
    /// The same, too long to be held.
    Long(Masking),
}

#[derive(Debug)]
enum Escape {
    No,
    Begun,
    Digits {
        value: u32,
        left: u8,
        high: Option<u32>,
    },
    /// A high surrogate waits for its low one.
    High(u32),
    HighBegun(u32),
}

/// Writes released text as the inside of a JSON string.
struct Escaped<'a>(&'a mut Released);

impl Sink for Escaped<'_> {
    fn text(&mut self, text: &str) {
        let quoted = serde_json::Value::from(text).to_string();
        self.0.text(&quoted[1..quoted.len() - 1]);
    }

    fn finish(&mut self, masking: Masking) {
        masking.finish(self.0);
    }
}

impl ObjectMasker {
    /// Masks by these rules.
    #[must_use]
    pub const fn new(rules: Arc<Rules>) -> Self {
        Self {
            inner: TextMasker::new(rules),
            nesting: Vec::new(),
            names_follow: false,
            name: String::new(),
            secret: None,
            state: State::Between,
            escape: Escape::No,
        }
    }

    /// Takes the next piece and returns what can no longer be part of a secret.
    pub fn push(&mut self, text: &str, commitments: &mut Commitments) -> Vec<Piece> {
        let mut out = Released::default();
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            let run = self.plain_run(rest);
            if run > 0 {
                self.inner.push_to(&rest[..run], commitments, &mut Escaped(&mut out));
                rest = &rest[run..];
            } else {
                self.take(char, commitments, &mut out);
                rest = &rest[char.len_utf8()..];
            }
        }
        out.into_pieces()
    }

    /// The text has ended: returns what was held back.
    pub fn finish(&mut self, commitments: &mut Commitments) -> Vec<Piece> {
        let mut out = Released::default();
        self.close(commitments, &mut out);
        self.start_line();
        out.into_pieces()
    }

    /// How much of `rest` is the inside of a string that can be looked at in one piece.
    fn plain_run(&self, rest: &str) -> usize {
        if matches!((&self.state, &self.escape), (State::Text, Escape::No)) {
            rest.find(['"', '\\', '\n']).unwrap_or(rest.len())
        } else {
            0
        }
    }

    fn start_line(&mut self) {
        self.nesting.clear();
        self.names_follow = false;
        self.name.clear();
        self.secret = None;
        self.state = State::Between;
        self.escape = Escape::No;
    }

    fn take(&mut self, char: char, commitments: &mut Commitments, out: &mut Released) {
        if char == '\n' {
            // No string of JSON goes over a line end.
            self.close(commitments, out);
            self.start_line();
            return out.text("\n");
        }
        match &mut self.state {
            State::Between => self.between(char, out),
            State::Scalar(scalar) => {
                let ends = matches!(char, ',' | '}' | ']' | '"' | ':' | ' ' | '\t' | '\r');
                if !ends && scalar.len() < SCALAR_BYTES_MAX {
                    return scalar.push(char);
                }
                self.close(commitments, out);
                if ends { self.between(char, out) } else { self.state = State::Scalar(char.to_string()) }
            }
            State::Name | State::Text | State::Secret(_) | State::Long(_) => {
                self.inside(char, commitments, out)
            }
        }
    }

    fn between(&mut self, char: char, out: &mut Released) {
        match char {
            '"' => self.begin_string(),
            '{' | '[' => {
                if self.nesting.len() < DEPTH_MAX {
                    self.nesting.push(char == '{');
                }
                self.names_follow = char == '{' && self.nesting.len() < DEPTH_MAX;
            }
            '}' | ']' => {
                self.nesting.pop();
                self.names_follow = false;
                self.secret = None;
            }
            ',' => self.names_follow = self.nesting.last() == Some(&true),
            ':' => self.names_follow = false,
            ' ' | '\t' | '\r' => {}
            _ if self.secret.is_some() => {
                self.state = State::Scalar(char.to_string());
                return;
            }
            _ => {}
        }
        out.text(char.encode_utf8(&mut [0; 4]));
    }

    fn begin_string(&mut self) {
        self.state = if self.names_follow {
            self.name.clear();
            State::Name
        } else if self.secret.is_some() {
            State::Secret(String::new())
        } else {
            State::Text
        };
    }

    /// A character between quotes: undoes escapes.
    fn inside(&mut self, char: char, commitments: &mut Commitments, out: &mut Released) {
        match std::mem::replace(&mut self.escape, Escape::No) {
            Escape::No => match char {
                '"' => {
                    self.close(commitments, out);
                    out.text("\"");
                    self.state = State::Between;
                }
                '\\' => self.escape = Escape::Begun,
                char => self.char(char, commitments, out),
            },
            Escape::Begun => self.escaped(char, None, commitments, out),
            Escape::Digits { value, left, high } => match char.to_digit(16) {
                Some(digit) => self.digit(value * 16 + digit, left - 1, high, commitments, out),
                None => {
                    self.char(char::REPLACEMENT_CHARACTER, commitments, out);
                    self.inside(char, commitments, out);
                }
            },
            Escape::High(high) if char == '\\' => self.escape = Escape::HighBegun(high),
            Escape::HighBegun(high) if char == 'u' => self.escaped('u', Some(high), commitments, out),
            Escape::High(_) => {
                self.char(char::REPLACEMENT_CHARACTER, commitments, out);
                self.inside(char, commitments, out);
            }
            Escape::HighBegun(_) => {
                self.char(char::REPLACEMENT_CHARACTER, commitments, out);
                self.escaped(char, None, commitments, out);
            }
        }
    }

    fn escaped(&mut self, char: char, high: Option<u32>, commitments: &mut Commitments, out: &mut Released) {
        let plain = match char {
            'u' => return self.escape = Escape::Digits { value: 0, left: 4, high },
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            other => other,
        };
        self.char(plain, commitments, out);
    }

    fn digit(
        &mut self,
        value: u32,
        left: u8,
        high: Option<u32>,
        commitments: &mut Commitments,
        out: &mut Released,
    ) {
        if left > 0 {
            self.escape = Escape::Digits { value, left, high };
            return;
        }
        match (high, value) {
            (Some(high), 0xdc00..=0xdfff) => {
                let both = 0x10000 + ((high - 0xd800) << 10) + (value - 0xdc00);
                self.char(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER), commitments, out);
            }
            (high, value) => {
                if high.is_some() {
                    self.char(char::REPLACEMENT_CHARACTER, commitments, out);
                }
                if (0xd800..=0xdbff).contains(&value) {
                    self.escape = Escape::High(value);
                } else {
                    self.char(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER), commitments, out);
                }
            }
        }
    }

    /// A character of a string, as it is meant.
    fn char(&mut self, char: char, commitments: &mut Commitments, out: &mut Released) {
        let mut bytes = [0; 4];
        let text: &str = char.encode_utf8(&mut bytes);
        match &mut self.state {
            State::Secret(held) if held.len() + text.len() <= WINDOW_BYTES => held.push_str(text),
            State::Secret(held) => {
                let form = self.secret.map_or("password", |(form, _)| form);
                let mut masking = commitments.begin(form);
                masking.take(held);
                masking.take(text);
                self.state = State::Long(masking);
            }
            State::Long(masking) => masking.take(text),
            state => {
                // One byte more than is looked at tells that a name is too long.
                if matches!(state, State::Name) && self.name.len() <= NAME_BYTES_MAX {
                    self.name.push(char);
                }
                self.inner.push_to(text, commitments, &mut Escaped(out));
            }
        }
    }

    /// The string or word that goes by has come to its end.
    fn close(&mut self, commitments: &mut Commitments, out: &mut Released) {
        if matches!(
            self.escape,
            Escape::Begun | Escape::Digits { .. } | Escape::High(_) | Escape::HighBegun(_)
        ) {
            self.escape = Escape::No;
            self.char(char::REPLACEMENT_CHARACTER, commitments, out);
        }
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => {}
            State::Scalar(scalar) => {
                match self.secret.filter(|(_, check)| check.accepts(&self.name, &scalar)) {
                    Some((form, _)) => {
                        out.text("\"");
                        mask(form, &scalar, commitments, out);
                        out.text("\"");
                    }
                    None => out.text(&scalar),
                }
            }
            State::Name => {
                self.inner.finish_to(commitments, &mut Escaped(out));
                let short = self.name.len() <= NAME_BYTES_MAX;
                self.secret = check_of_name(&self.name).filter(|_| short);
            }
            State::Text => self.inner.finish_to(commitments, &mut Escaped(out)),
            State::Secret(value) => {
                match self.secret.filter(|(_, check)| check.accepts(&self.name, &value)) {
                    Some((form, _)) => mask(form, &value, commitments, out),
                    None => {
                        self.inner.push_to(&value, commitments, &mut Escaped(out));
                        self.inner.finish_to(commitments, &mut Escaped(out));
                    }
                }
            }
            State::Long(masking) => masking.finish(out),
        }
    }
}

fn mask(form: &str, secret: &str, commitments: &mut Commitments, out: &mut Released) {
    let mut masking = commitments.begin(form);
    masking.take(secret);
    masking.finish(out);
}
