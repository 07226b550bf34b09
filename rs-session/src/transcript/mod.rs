//! Transcripts for other eyes and other programs: renderings of a record, each a view of it and none the truth.
//!
//! | form | what |
//! | --- | --- |
//! | [`text`] | the shape of a PowerShell transcript, with its parser, which also reads the public ones |
//! | [`Form::Json`] | one JSON object a line, one for each record |
//! | [`Form::Asciicast`] | asciicast version 2, which terminal players play |
//! | [`Form::Csv`] | a table of the records, safe to open in a spreadsheet |
//!
//! What was typed and printed cannot forge a line, a cell, an event or a time stamp of any of them: control characters are
//! escaped, and a property test prints, parses and compares.

mod csv;
mod lines;
pub mod text;

pub use csv::{cell, record as csv_record};
pub use lines::{Form, Renderer, Row, visible};
