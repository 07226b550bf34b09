//! The messages of the protocol and the limits of their frames.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::operations::format::views;
use crate::operations::objects::{CUSTOM, DEPTH_MAX, Object, Value};
use crate::operations::plan::{Bound, Call};

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;
/// Most bytes of a hello.
pub const HELLO_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a call.
pub const CALL_BYTES_MAX: usize = 256 << 10;
/// Most bytes of one object; a larger one is left out by the endpoint, with an error line in its place.
pub const OBJECT_BYTES_MAX: usize = 256 << 10;
/// Most bytes of an error line or a finish.
pub const TEXT_BYTES_MAX: usize = 16 << 10;
/// Most properties of one object.
pub const PROPERTIES_MAX: usize = 512;
/// Bytes in front of each payload.
pub const HEADER_BYTES: usize = 5;

/// Kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The endpoint's first word.
    Hello,
    /// A call.
    Call,
    /// One object.
    Object,
    /// An error or warning that did not end the call.
    Text,
    /// The end of a call.
    Finish,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Hello, Self::Call, Self::Object, Self::Text, Self::Finish];

    const fn byte(self) -> u8 {
        match self {
            Self::Hello => b'h',
            Self::Call => b'c',
            Self::Object => b'o',
            Self::Text => b'e',
            Self::Finish => b'f',
        }
    }

    /// Most bytes of a payload of this kind.
    #[must_use]
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Hello => HELLO_BYTES_MAX,
            Self::Call => CALL_BYTES_MAX,
            Self::Object => OBJECT_BYTES_MAX,
            Self::Text | Self::Finish => TEXT_BYTES_MAX,
        }
    }
}

/// A message that breaks the protocol. The endpoint is not trusted any further then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A kind that does not exist.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// A payload over its limit.
    #[error("{found} bytes announced where {limit} are the limit")]
    Length {
        /// Announced bytes.
        found: usize,
        /// Permitted bytes.
        limit: usize,
    },
    /// A payload that cannot be read.
    #[error("a message that cannot be read: {0}")]
    Payload(String),
    /// A call that does not fit its limit or has a value that cannot be sent.
    #[error("the call cannot be sent: {0}; shorten the line")]
    Call(String),
}

fn payload(error: impl ToString) -> MessageError {
    MessageError::Payload(error.to_string())
}

/// Reads a header: kind and payload length.
///
/// # Errors
/// [`MessageError::Kind`], [`MessageError::Length`].
pub fn read_header(header: [u8; HEADER_BYTES]) -> Result<(Kind, usize), MessageError> {
    let [kind, length @ ..] = header;
    let kind = Kind::ALL.into_iter().find(|own| own.byte() == kind).ok_or(MessageError::Kind(kind))?;
    let found = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let limit = kind.bytes_max();
    if found > limit { Err(MessageError::Length { found, limit }) } else { Ok((kind, found)) }
}

/// The header of a payload.
#[must_use]
pub fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind.byte(), a, b, c, d]
}

/// What an endpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Hash of the rights that the endpoint was made from, as
    /// [`Catalog::rights_sha256`](crate::operations::Catalog::rights_sha256) gives it.
    pub rights: String,
    /// PowerShell's edition and version, for people.
    pub host: Text,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallMessage {
    /// Number of the call in its session, from 1.
    pub number: u64,
    /// Name as published.
    pub command: String,
    /// Module that the command must come from, where it is known.
    pub module: Option<String>,
    /// The arguments.
    pub arguments: Vec<Argument>,
}

/// Text that travels as Base64 of its UTF-8. So no text needs escapes, neither here nor in the script at the other end, and
/// PowerShell's JSON reader cannot take one for a date.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text(pub String);

impl From<Text> for String {
    fn from(text: Text) -> Self {
        STANDARD.encode(text.0)
    }
}

impl TryFrom<String> for Text {
    type Error = MessageError;

    fn try_from(encoded: String) -> Result<Self, MessageError> {
        Self::try_from(encoded.as_str())
    }
}

impl TryFrom<&str> for Text {
    type Error = MessageError;

    fn try_from(encoded: &str) -> Result<Self, MessageError> {
        String::from_utf8(STANDARD.decode(encoded).map_err(payload)?).map(Self).map_err(payload)
    }
}

/// One argument of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// The parameter's name as defined.
    pub name: String,
    /// Its values.
    #[serde(flatten)]
    pub values: ArgumentValues,
}

/// Typed values of an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "values", rename_all = "lowercase")]
pub enum ArgumentValues {
    /// A switch; one value.
    Switch([bool; 1]),
    /// Texts.
    Texts(Vec<Text>),
    /// Whole numbers.
    Integers(Vec<i64>),
}

impl CallMessage {
    /// A checked call as a message.
    ///
    /// # Errors
    /// [`MessageError::Call`] for literals without a type, which no source takes.
    pub fn new(number: u64, call: &Call, module: Option<&str>) -> Result<Self, MessageError> {
        let argument = |(name, bound): (&String, &Bound)| {
            let values = match bound {
                Bound::Switch(value) => ArgumentValues::Switch([*value]),
                Bound::Texts(texts) => ArgumentValues::Texts(texts.iter().cloned().map(Text).collect()),
                Bound::Integers(values) => ArgumentValues::Integers(values.clone()),
                Bound::Literals(_) => {
                    return Err(MessageError::Call(format!("-{name} has a value without a type")));
                }
            };
            Ok(Argument { name: name.clone(), values })
        };
        Ok(Self {
            number,
            command: call.command.clone(),
            module: module.map(str::to_owned),
            arguments: call.arguments.iter().map(argument).collect::<Result<_, _>>()?,
        })
    }

    /// The frame of this call.
    ///
    /// # Errors
    /// [`MessageError::Call`] if it has more than [`CALL_BYTES_MAX`] bytes.
    pub fn frame(&self) -> Result<Vec<u8>, MessageError> {
        let json = serde_json::to_vec(self).map_err(payload)?;
        if json.len() > CALL_BYTES_MAX {
            return Err(MessageError::Call(format!(
                "{} bytes where {CALL_BYTES_MAX} are the limit",
                json.len()
            )));
        }
        let mut frame = header(Kind::Call, json.len()).to_vec();
        frame.extend(json);
        Ok(frame)
    }

    /// The call as the endpoint's side understands it.
    #[must_use]
    pub fn call(&self) -> Call {
        let bound = |values: &ArgumentValues| match values {
            ArgumentValues::Switch([value]) => Bound::Switch(*value),
            ArgumentValues::Texts(texts) => Bound::Texts(texts.iter().map(|text| text.0.clone()).collect()),
            ArgumentValues::Integers(values) => Bound::Integers(values.clone()),
        };
        let arguments = self.arguments.iter().map(|own| (own.name.clone(), bound(&own.values))).collect();
        Call { command: self.command.clone(), arguments }
    }
}

/// One object of a call's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectMessage {
    /// The call.
    pub number: u64,
    /// The value, in nearly every case an object.
    pub value: WireValue,
}

/// A text of a call's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextMessage {
    /// The call.
    pub number: u64,
    /// The text.
    pub text: Text,
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishMessage {
    /// The call.
    pub number: u64,
    /// Why it failed; empty if it did not.
    pub failure: Text,
}

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k", content = "v", rename_all = "lowercase")]
pub enum WireValue {
    /// Nothing.
    Null,
    /// Text.
    Text(Text),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// An instant, RFC 3339.
    Date(DateTime<Utc>),
    /// A number of bytes.
    Size(u64),
    /// Several values.
    List(Vec<Self>),
    /// An object.
    Object(WireObject),
}

/// An object with its properties in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireObject {
    /// Name of its type, without namespaces.
    #[serde(rename = "type")]
    pub type_name: Text,
    /// Names and values.
    pub properties: Vec<(Text, WireValue)>,
}

impl WireValue {
    /// The value as this engine holds it.
    ///
    /// # Errors
    /// [`MessageError::Payload`] for more than [`DEPTH_MAX`] levels or [`PROPERTIES_MAX`] properties.
    pub fn into_value(self) -> Result<Value, MessageError> {
        self.within(DEPTH_MAX)
    }

    fn within(self, depth: usize) -> Result<Value, MessageError> {
        let deeper = || depth.checked_sub(1).ok_or_else(|| payload(format!("more than {DEPTH_MAX} levels")));
        Ok(match self {
            Self::Null => Value::Null,
            Self::Text(Text(text)) => text.into(),
            Self::Integer(value) => value.into(),
            Self::Float(value) => value.into(),
            Self::Bool(value) => value.into(),
            Self::Date(value) => value.into(),
            Self::Size(value) => Value::Size(value),
            Self::List(items) => {
                let depth = deeper()?;
                Value::List(items.into_iter().map(|item| item.within(depth)).collect::<Result<_, _>>()?)
            }
            Self::Object(object) => {
                let depth = deeper()?;
                if object.properties.len() > PROPERTIES_MAX {
                    return Err(payload(format!("more than {PROPERTIES_MAX} properties")));
                }
                let known = views::all().map(|(name, _)| name).find(|name| *name == object.type_name.0);
                let mut own = Object::new(known.unwrap_or(CUSTOM));
                for (name, value) in object.properties {
                    own.set(name.0, value.within(depth)?);
                }
                own.into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn bound() -> impl Strategy<Value = Bound> {
        prop_oneof![
            any::<bool>().prop_map(Bound::Switch),
            proptest::collection::vec(".*", 1..4).prop_map(Bound::Texts),
            proptest::collection::vec(any::<String>(), 1..4).prop_map(Bound::Texts),
            proptest::collection::vec(any::<i64>(), 1..4).prop_map(Bound::Integers),
        ]
    }

    proptest! {
        /// Whatever a value holds, quotes, line breaks, `$()`, it arrives as it is and nothing else changes.
        #[test]
        fn sec20_no_value_changes_the_structure_of_a_call(
            arguments in proptest::collection::btree_map("[A-Za-z]{1,12}", bound(), 0..5), number: u64,
        ) {
            let call = Call { command: String::from("Get-VM"), arguments };
            let message = CallMessage::new(number, &call, Some("Hyper-V")).unwrap();
            let frame = message.frame().unwrap();
            let (kind, length) = read_header(frame[..HEADER_BYTES].try_into().unwrap()).unwrap();
            prop_assert_eq!((kind, length), (Kind::Call, frame.len() - HEADER_BYTES));
            let read: CallMessage = serde_json::from_slice(&frame[HEADER_BYTES..]).unwrap();
            prop_assert_eq!(&read, &message);
            prop_assert_eq!(read.call(), call);
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>) {
            if let Ok(message) = serde_json::from_slice::<ObjectMessage>(&bytes) {
                let _ = message.value.into_value();
            }
        }
    }

    /// The control: with texts put together instead, a value does change the structure.
    #[test]
    fn sec20_control_a_line_put_together_is_changed_by_a_value() {
        let line = |value: &str| format!("Get-VM -Name '{value}'");
        let parsed = crate::operations::parse(&line("x' | Remove-VM -Name '*")).unwrap();
        assert_eq!(parsed.stages.len(), 2);
    }

    #[test]
    fn every_length_has_its_limit() {
        for kind in Kind::ALL {
            assert_eq!(read_header(header(kind, kind.bytes_max())), Ok((kind, kind.bytes_max())));
            let found = kind.bytes_max() + 1;
            let over = read_header(header(kind, found));
            assert_eq!(over, Err(MessageError::Length { found, limit: kind.bytes_max() }));
        }
        assert_eq!(read_header([b'x', 0, 0, 0, 0]), Err(MessageError::Kind(b'x')));
        let texts = |bytes: usize| {
            let arguments = BTreeMap::from([(String::from("A"), Bound::Texts(vec!["x".repeat(bytes)]))]);
            CallMessage::new(1, &Call { command: String::from("B"), arguments }, None).unwrap().frame()
        };
        let around = texts(0).unwrap().len() - HEADER_BYTES;
        let most = (CALL_BYTES_MAX - around) / 4 * 3;
        assert!(texts(most).is_ok() && texts(most + 3).is_err());
    }

    #[test]
    fn depth_and_properties_end() {
        let nested =
            |levels: usize| (0..levels).fold(WireValue::Null, |value, _| WireValue::List(vec![value]));
        assert!(nested(DEPTH_MAX).into_value().is_ok());
        assert!(nested(DEPTH_MAX + 1).into_value().is_err());
        let wide = |count: usize| {
            let properties = (0..count).map(|at| (Text(at.to_string()), WireValue::Null)).collect();
            WireValue::Object(WireObject { type_name: Text::default(), properties })
        };
        assert!(wide(PROPERTIES_MAX).into_value().is_ok());
        assert!(wide(PROPERTIES_MAX + 1).into_value().is_err());
    }

    #[test]
    fn values_keep_type_and_order() {
        let text = |text: &str| String::from(Text(text.to_owned()));
        let json = serde_json::json!({"number": 3, "value": {"k": "object", "v": {"type": text("VM"), "properties": [
            [text("Name"), {"k": "text", "v": text("a'\n$(x)")}], [text("Id"), {"k": "integer", "v": 7}],
            [text("On"), {"k": "bool", "v": true}], [text("At"), {"k": "date", "v": "2024-05-01T10:00:00.0000000Z"}],
            [text("Of"), {"k": "list", "v": [{"k": "size", "v": 5}, {"k": "null"}]}]]}}});
        let message: ObjectMessage = serde_json::from_value(json).unwrap();
        let Value::Object(object) = message.value.into_value().unwrap() else { panic!("no object") };
        assert_eq!(
            object.properties().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(),
            ["Name", "Id", "On", "At", "Of"]
        );
        assert_eq!(object.get("Name"), Some(&Value::from("a'\n$(x)")));
        assert_eq!(object.get("Of"), Some(&Value::List(vec![Value::Size(5), Value::Null])));
    }
}
