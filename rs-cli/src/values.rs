//! Readers of argument values, whose refusals name what is permitted.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

use chrono::{DateTime, Local, Utc};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command, Error};
use rs_consent::request::RequestNumberError;
use rs_consent::{AccessLevel, Clock as _, RequestNumber, SystemClock};

use crate::dates::DateError;

/// Reads an access level in any public spelling, without regard to case; help and errors name the product's two.
#[derive(Debug, Clone, Copy)]
pub struct AccessLevelParser;

impl TypedValueParser for AccessLevelParser {
    type Value = AccessLevel;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<AccessLevel, Error> {
        if let Some(level) = value.to_str().and_then(|text| text.parse().ok()) {
            return Ok(level);
        }
        let refused = PossibleValuesParser::new(names()).parse_ref(command, arg, value);
        Err(refused
            .err()
            .unwrap_or_else(|| Error::new(clap::error::ErrorKind::InvalidValue).with_cmd(command)))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(names().into_iter().map(PossibleValue::new)))
    }
}

fn names() -> [&'static str; 2] {
    AccessLevel::ALL.map(AccessLevel::as_str)
}

/// Reads a date in any of the forms of [`crate::dates`], in the local time zone.
///
/// # Errors
///
/// [`crate::dates::DateError`].
pub fn date(text: &str) -> Result<DateTime<Utc>, DateError> {
    crate::dates::parse(text, SystemClock::new().now().wall, &Local)
}

/// A support request, or the file that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberOrFile {
    /// Its number.
    Number(RequestNumber),
    /// A signed file.
    File(PathBuf),
}

impl FromStr for NumberOrFile {
    type Err = RequestNumberError;

    /// Digits alone are a number, everything else is a file.
    fn from_str(text: &str) -> Result<Self, RequestNumberError> {
        if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Number);
        }
        Ok(Self::File(text.into()))
    }
}
