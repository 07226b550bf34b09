//! Windows PowerShell as a provider: typed calls to a constrained endpoint, objects back.
//!
//! For every session one process runs the script that [`endpoint_script`] makes from the catalog. It opens a runspace
//! without language, in which only the level's commands are visible, and answers calls. **No text is ever put
//! together**: a call names one command and its arguments as typed values, and the endpoint hands them to PowerShell as
//! values (`AddCommand`, `AddParameter`). What the engineer wrote is never parsed by PowerShell.
//!
//! # Protocol, version 1
//!
//! Frames on the process's standard input and output: one byte kind, four bytes payload length (big endian), payload
//! (JSON, UTF-8). A length over its limit ends the link before memory is taken.
//!
//! | kind | from | payload | bytes at most |
//! | --- | --- | --- | --- |
//! | `h` | endpoint, first and once | [`Hello`] | [`HELLO_BYTES_MAX`] |
//! | `c` | node | [`CallMessage`] | [`CALL_BYTES_MAX`] |
//! | `o` | endpoint | [`ObjectMessage`], one object | [`OBJECT_BYTES_MAX`] |
//! | `e` | endpoint | [`TextMessage`], an error or warning that did not end the call | [`TEXT_BYTES_MAX`] |
//! | `f` | endpoint | [`FinishMessage`], the last of a call | [`TEXT_BYTES_MAX`] |
//!
//! - The hello carries the protocol's version and the hash of the rights that the script was made from. Another hash than
//!   the one the node expects ends the link: an endpoint never runs with rights that the node did not judge.
//! - Calls have numbers that grow by one; every answer carries its call's number. One call at a time.
//! - Texts travel as Base64 of their UTF-8 ([`Text`]), in both directions: nothing needs escapes, and PowerShell's JSON
//!   reader cannot take a text for a date.
//! - Objects keep the order of their properties, as a list of name and value; each value says its type.
//! - There is no message to stop a call. Whoever wants one to end kills the process with everything below it; the
//!   session's next call starts another.
//! - The end of standard input ends the endpoint.
//!
//! ```
//! use rs_session::operations::powershell::CallMessage;
//! use rs_session::operations::plan::{Bound, Call};
//! use std::collections::BTreeMap;
//!
//! let name = Bound::Texts(vec![String::from("'; Stop-Computer #")]);
//! let call = Call { command: String::from("Get-VM"), arguments: BTreeMap::from([(String::from("Name"), name)]) };
//! let message = CallMessage::new(1, &call, Some("Hyper-V")).unwrap();
//! assert_eq!(message.call(), call);
//! ```

mod message;
mod script;

#[cfg(feature = "driver")]
pub(super) mod link;

#[cfg(feature = "driver")]
pub use self::link::{ANSWER_BYTES_MAX, DROPPED_BYTES_MAX, EndpointProgram};
pub use self::message::{
    Argument, ArgumentValues, CALL_BYTES_MAX, CallMessage, FinishMessage, HEADER_BYTES, HELLO_BYTES_MAX,
    Hello, Kind, MessageError, OBJECT_BYTES_MAX, ObjectMessage, PROPERTIES_MAX, PROTOCOL, TEXT_BYTES_MAX,
    Text, TextMessage, WireObject, WireValue, header, read_header,
};
pub use self::script::endpoint_script;
