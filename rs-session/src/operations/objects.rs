//! What operations give back: objects with ordered, typed properties.
//!
//! Text appears only at the end, in [`format`](super::format) or as JSON. Whatever leaves as text passes
//! [`harmless`], which shows control and direction characters instead of sending them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// Most levels of nesting that comparisons and output follow; deeper values print as `...`.
pub const DEPTH_MAX: usize = 8;

/// A property's value.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// Nothing: prints as an empty string.
    #[default]
    Null,
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// An instant; shown in UTC.
    Date(DateTime<Utc>),
    /// A number of bytes.
    Size(u64),
    /// An object within an object.
    Object(Box<Object>),
    /// Several values.
    List(Vec<Self>),
}

/// One object: a type, which chooses the default view, and properties in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    type_name: &'static str,
    properties: Vec<(Cow<'static, str>, Value)>,
}

/// Most items of a list that text shows, as PowerShell's default; JSON has all.
pub const LIST_ITEMS_SHOWN: usize = 4;

/// Type name of what Select-Object makes: it has no view of its own.
pub const CUSTOM: &str = "custom";

impl Object {
    /// An object without properties.
    ///
    /// ```
    /// use rs_session::operations::{Object, Value};
    /// let process = Object::new("Process").with("Name", "sshd").with("Id", 7_i64);
    /// assert_eq!(process.get("name"), Some(&Value::from("sshd")));
    /// ```
    #[must_use]
    pub const fn new(type_name: &'static str) -> Self {
        Self { type_name, properties: Vec::new() }
    }

    /// The same object with one more property at the end.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Puts a property at the end.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.properties.push((name.into(), value.into()));
    }

    /// The type's name.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// The value of a property; names compare without regard to case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entry(name).map(|(_, value)| value)
    }

    /// A property with its name as the object spells it.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<(&Cow<'static, str>, &Value)> {
        let found = self.properties.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some((&found.0, &found.1))
    }

    /// All properties in their order.
    pub fn properties(&self) -> impl Iterator<Item = (&Cow<'static, str>, &Value)> {
        self.properties.iter().map(|(name, value)| (name, value))
    }
}

impl Value {
    /// True for what PowerShell takes as true: a number that is not 0, text that is not empty, any object.
    #[must_use]
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Text(text) => !text.is_empty(),
            Self::Integer(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Bool(value) => *value,
            Self::Size(value) => *value != 0,
            Self::Date(_) | Self::Object(_) => true,
            Self::List(items) => match items.as_slice() {
                [] => false,
                [one] => one.is_truthy(),
                _ => true,
            },
        }
    }

    /// The value as a number, if it is one.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "sizes and counts beyond 2^53 are compared as doubles, as in PowerShell"
    )]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Size(value) => Some(*value as f64),
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// True for values that print right-aligned.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Float(_) | Self::Size(_))
    }

    /// The value as text in one line, as a table cell shows it; not yet made harmless.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        self.to_text_within(DEPTH_MAX)
    }

    fn to_text_within(&self, depth: usize) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Float(value) => Cow::Owned(float_text(*value)),
            Self::Bool(true) => Cow::Borrowed("True"),
            Self::Bool(false) => Cow::Borrowed("False"),
            Self::Date(value) => Cow::Owned(date_text(value)),
            Self::Size(value) => Cow::Owned(value.to_string()),
            _ if depth == 0 => Cow::Borrowed("..."),
            Self::Object(object) => Cow::Owned(object.to_text_within(depth - 1)),
            Self::List(items) => Cow::Owned(list_text(items, depth - 1)),
        }
    }

    /// Memory that the value takes, about, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let inner = match self {
            Self::Text(Cow::Owned(text)) => text.capacity(),
            Self::Object(object) => {
                let owned =
                    |name: &Cow<'static, str>| if let Cow::Owned(name) = name { name.capacity() } else { 0 };
                let names = size_of::<Object>() + object.properties.len() * size_of::<Cow<'static, str>>();
                names
                    + object.properties.iter().map(|(name, value)| owned(name) + value.bytes()).sum::<usize>()
            }
            Self::List(items) => items.iter().map(Self::bytes).sum(),
            _ => 0,
        };
        size_of::<Self>() + inner
    }

    /// Total order for sorting: nothing first, then by value, text without regard to case; mixed types by text.
    ///
    /// ```
    /// use rs_session::operations::Value;
    /// assert!(Value::from("ABC").order(&Value::from("abd")).is_lt());
    /// assert!(Value::from(2_i64).order(&Value::from(10.5)).is_lt());
    /// ```
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Less,
            (_, Self::Null) => Ordering::Greater,
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Size(a), Self::Size(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => order_text(a, b),
            _ => match (self.as_number(), other.as_number()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => order_text(&self.to_text(), &other.to_text()),
            },
        }
    }
}

/// Compares texts without regard to case.
#[must_use]
pub fn order_text(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        let lower = |text: &str| -> Vec<u8> { text.bytes().map(|byte| byte.to_ascii_lowercase()).collect() };
        return if a.len() < 64 && b.len() < 64 { order_ascii(a, b) } else { lower(a).cmp(&lower(b)) };
    }
    a.chars().flat_map(char::to_lowercase).cmp(b.chars().flat_map(char::to_lowercase))
}

/// Compares texts by letters first and by case where they are the same, small letters first, as PowerShell sorts them.
#[must_use]
pub fn order_text_by_case(a: &str, b: &str) -> Ordering {
    order_text(a, b).then_with(|| b.cmp(a))
}

fn order_ascii(a: &str, b: &str) -> Ordering {
    a.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(b.bytes().map(|byte| byte.to_ascii_lowercase()))
}

fn float_text(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value}") }
}

/// An instant as PowerShell's general form in the invariant culture of the product, in UTC.
#[must_use]
pub fn date_text(value: &DateTime<Utc>) -> String {
    value.format("%-m/%-d/%Y %-I:%M:%S %p").to_string()
}

fn list_text(items: &[Value], depth: usize) -> String {
    let parts: Vec<_> = items.iter().take(LIST_ITEMS_SHOWN).map(|item| item.to_text_within(depth)).collect();
    let more = if items.len() > LIST_ITEMS_SHOWN { "…" } else { "" };
    format!("{{{}{more}}}", parts.join(", "))
}

impl Object {
    fn to_text_within(&self, depth: usize) -> String {
        let mut text = String::from("@{");
        for (index, (name, value)) in self.properties.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{name}={}", value.to_text_within(depth));
        }
        text.push('}');
        text
    }
}

macro_rules! from {
    ($($type:ty => $make:expr,)+) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                $make(value)
            }
        })+
    };
}

from! {
    &'static str => |value| Self::Text(Cow::Borrowed(value)),
    String => |value| Self::Text(Cow::Owned(value)),
    Cow<'static, str> => Self::Text,
    i64 => Self::Integer,
    i32 => |value| Self::Integer(i64::from(value)),
    u32 => |value| Self::Integer(i64::from(value)),
    u16 => |value| Self::Integer(i64::from(value)),
    u8 => |value| Self::Integer(i64::from(value)),
    f64 => Self::Float,
    bool => Self::Bool,
    DateTime<Utc> => Self::Date,
    Object => |value| Self::Object(Box::new(value)),
    Vec<Self> => Self::List,
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Date(value) => {
                serializer.serialize_str(&value.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            Self::Size(value) => serializer.serialize_u64(*value),
            Self::Object(object) => object.serialize(serializer),
            Self::List(items) => items.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.properties.len()))?;
        for (name, value) in &self.properties {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// True for characters that cannot be seen or that turn the direction of the text around them.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// True for what must not reach a terminal as it is: control characters except newline and tab, line separators,
/// invisible and direction characters.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        ' '..='~' => false,
        '\u{2028}' | '\u{2029}' => true,
        c => c.is_control() || is_invisible(c),
    }
}

/// Text that is harmless to print: what [`is_harmful`] names is shown as `\u{1b}` instead of being sent.
///
/// ```
/// use rs_session::operations::objects::harmless;
/// assert_eq!(harmless("a\u{1b}[2J"), "a\\u{1b}[2J");
/// assert_eq!(harmless("line\n\tnext"), "line\n\tnext");
/// ```
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// One value as one line of JSON that is harmless to print: what is harmful stands as a JSON escape.
///
/// ```
/// use rs_session::operations::{objects::json_line, Object};
/// let line = json_line(&Object::new("x").with("Name", "a\u{9b}b").into());
/// assert_eq!(line, "{\"Name\":\"a\\u009bb\"}");
/// ```
#[must_use]
pub fn json_line(value: &Value) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|_| String::from("null"));
    if !json.chars().any(is_harmful) {
        return json;
    }
    let mut clean = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(clean, "\\u{unit:04x}");
            }
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec37_every_control_character_is_shown_not_sent() {
        for c in (0..=0x11_0000).filter_map(char::from_u32) {
            let text = c.to_string();
            let clean = harmless(&text);
            let may_pass = !c.is_control() || c == '\n' || c == '\t';
            assert!(may_pass || clean.starts_with("\\u{"), "{c:?}");
            assert!(!json_line(&Value::from(text.clone())).chars().any(is_harmful), "{c:?}");
        }
    }

    #[test]
    fn json_survives_the_cleaning() {
        let text = "x\u{7f}\u{202e}\u{e0041}\"\\";
        let line = json_line(&Value::from(text));
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn values_print_as_powershell_prints_them() {
        let date = DateTime::from_timestamp(1_694_037_952, 0).unwrap();
        for (value, text) in [
            (Value::from(true), "True"),
            (Value::from(2.0), "2"),
            (Value::from(0.25), "0.25"),
            (Value::from(date), "9/6/2023 10:05:52 PM"),
            (Value::from(vec![Value::from(1_i64), Value::from("b")]), "{1, b}"),
            (Value::from(Object::new("x").with("A", 1_i64).with("B", "c")), "@{A=1; B=c}"),
        ] {
            assert_eq!(value.to_text(), text);
        }
    }

    #[test]
    fn deep_values_end() {
        let nested = |depth| (0..depth).fold(Value::from(1_i64), |value, _| Value::from(vec![value]));
        assert!(!nested(DEPTH_MAX).to_text().contains("..."));
        assert!(nested(DEPTH_MAX + 1).to_text().contains("..."));
    }
}
