//! The product's own words: dates, the record in list form and the messages, byte by byte as its users know them.
//!
//! What is stored and exchanged is RFC 3339 in UTC; this form is for people and for scripts that read the cmdlets'
//! output.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock::Now;
use crate::grant::Grant;
use crate::level::AccessLevel;
use crate::minutes::Minutes;
use crate::party::is_hidden;

/// The only value of `TargetService` that is known.
pub const TARGET_SERVICE: &str = "PowerShell";

/// The question before a consent is given.
pub const QUESTION: &str = "Proceed with enabling remote support?";
/// The choices of the question, with Enter as Yes.
pub const CHOICES: &str = r#"[Y] Yes  [N] No  [?] Help (default is "Y"):"#;
/// The choices of the question in the samples of 2022.
pub const CHOICES_2022: &str = "[Y] Yes  [N] No:";
/// After [`enabling`], if a SAS credential was given.
pub const USING_SAS: &str = "Using provided SAS credential to make remote support connection.";
/// After a consent was recorded.
pub const ENABLED: &str = "Remote Support successfully Enabled.";
/// Before a consent is taken back.
pub const DISABLING: &str = "Disabling Remote Support.";
/// After a consent was taken back.
pub const DISABLED: &str = "Remote Support successfully Disabled.";
/// Before grants are listed.
pub const GETTING_ACCESS: &str = "Getting RemoteSupport Access on this node";
/// If there is no grant to list.
pub const NO_ACCESS: &str = "No remote support access exists.";
/// If there is no session to list.
pub const NO_SESSION: &str = "No remote support session exists.";

/// Before a consent is recorded.
///
/// ```
/// use rs_consent::{AccessLevel, Minutes, compat};
///
/// assert_eq!(
///     compat::enabling(AccessLevel::Diagnostics, Minutes::new(1440)?),
///     "Enabling Remote Support for 'Diagnostics' expiring in '1440' minutes."
/// );
/// # Ok::<(), rs_consent::minutes::MinutesError>(())
/// ```
#[must_use]
pub fn enabling(level: AccessLevel, minutes: Minutes) -> String {
    format!("Enabling Remote Support for '{level}' expiring in '{minutes}' minutes.")
}

/// After [`GETTING_ACCESS`].
#[must_use]
pub fn retrieving(include_expired: bool) -> String {
    let word = if include_expired { "True" } else { "False" };
    format!("Retrieving Remote Support access. IncludeExpired is set to '{word}'")
}

/// Before sessions of the last `days` days are listed.
#[must_use]
pub fn listing_history(days: u32) -> String {
    format!("Listing Session History for last '{days}' days.")
}

/// A date as the product prints it: `9/6/2023 10:05:52 PM +00:00`, in UTC, whole seconds.
///
/// ```
/// use rs_consent::compat::{parse_date, print_date};
///
/// let midnight = "2023-09-06T00:00:00Z".parse()?;
/// assert_eq!(print_date(midnight), "9/6/2023 12:00:00 AM +00:00");
/// assert_eq!(parse_date("9/6/2023 12:00:00 AM +00:00")?, midnight);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn print_date(at: DateTime<Utc>) -> String {
    at.format(DATE_FORMAT).to_string()
}

const DATE_FORMAT: &str = "%-m/%-d/%Y %-I:%M:%S %p %:z";

/// Longest text that is read as a date, in bytes.
pub const DATE_BYTES_MAX: usize = 64;

/// A text that is no date in one of the known forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a date: write 9/6/2023 10:05:52 PM +00:00 or 2023-09-06T22:05:52Z")]
pub struct DateError;

/// Reads a date as the product prints it, with any offset, or in RFC 3339 with any number of fractional digits.
///
/// Newer versions of .NET put a narrow no-break space before AM and PM; it is read as a blank.
///
/// # Errors
/// [`DateError`] for everything else, also dates without offset and more than [`DATE_BYTES_MAX`] bytes.
pub fn parse_date(text: &str) -> Result<DateTime<Utc>, DateError> {
    if text.len() > DATE_BYTES_MAX {
        return Err(DateError);
    }
    let blanks = text.replace(['\u{202f}', '\u{a0}'], " ");
    DateTime::parse_from_str(&blanks, DATE_FORMAT)
        .or_else(|_| DateTime::parse_from_rfc3339(text))
        .map(|at| at.to_utc())
        .map_err(|_| DateError)
}

/// How the node's connection to its relay stands. `Connecting` and `Connected` are public words, the others are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// Nothing is to be connected, or nobody runs that would connect.
    NotConnected,
    /// The node is on its way to the relay.
    Connecting,
    /// The node listens at the relay.
    Connected,
    /// The connection was lost and is being made again.
    Reconnecting,
    /// The last attempt failed.
    Failed,
    /// The connection was closed because the grant ended.
    Closed,
}

impl fmt::Display for ConnectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotConnected => "NotConnected",
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
            Self::Reconnecting => "Reconnecting",
            Self::Failed => "Failed",
            Self::Closed => "Closed",
        })
    }
}

/// A grant with the nine fields of the product's own record; prints as the product's list view.
///
/// States, levels and statuses are texts, because records of other versions may have words that are not known here.
/// `SasCredential` is always blank, whatever was read.
///
/// ```
/// let printed = "\
/// State                  : Active
/// CreatedAt              : 9/6/2023 10:05:52 PM +00:00
/// UpdatedAt              : 9/6/2023 10:05:52 PM +00:00
/// ConnectionStatus       : Connecting
/// ConnectionErrorMessage :
/// TargetService          : PowerShell
/// AccessLevel            : Diagnostics
/// ExpiresAt              : 9/7/2023 10:05:50 PM +00:00
/// SasCredential          :
/// ";
/// let view: rs_consent::compat::AccessView = printed.parse()?;
/// assert_eq!(view.expires_at.to_rfc3339(), "2023-09-07T22:05:50+00:00");
/// assert_eq!(view.to_string(), printed);
/// # Ok::<(), rs_consent::compat::ViewError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AccessView {
    /// `Active`, `Expired`, `Revoked` or `Superseded`.
    pub state: String,
    /// When the grant was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// How the connection to the relay stands; blank in records of 2022.
    pub connection_status: String,
    /// Why the last connection failed; blank if it did not.
    pub connection_error_message: String,
    /// What the engineer reaches.
    pub target_service: String,
    /// The level.
    pub access_level: String,
    /// The first instant at which the grant no longer permits.
    pub expires_at: DateTime<Utc>,
    sas_credential: &'static str,
}

/// A text that is no record in list form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// A field is missing.
    #[error("this is not a grant in list form: the field {0} is missing")]
    Missing(&'static str),
    /// A field has no date.
    #[error("the field {0} of the record is no date")]
    Date(&'static str),
}

const NAME_WIDTH: usize = "ConnectionErrorMessage".len();

impl AccessView {
    /// The record of `grant` as it stands at `now`.
    #[must_use]
    pub fn of(grant: &Grant, connection: ConnectionStatus, connection_error: &str, now: &Now) -> Self {
        Self {
            state: grant.state_at(now).to_string(),
            created_at: grant.created_at,
            updated_at: grant.updated_at,
            connection_status: connection.to_string(),
            connection_error_message: connection_error.to_owned(),
            target_service: TARGET_SERVICE.to_owned(),
            access_level: grant.level.to_string(),
            expires_at: grant.expires_at(),
            sas_credential: "",
        }
    }

    /// The names and values, in the order in which the product prints them.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, String); 9] {
        [
            ("State", self.state.clone()),
            ("CreatedAt", print_date(self.created_at)),
            ("UpdatedAt", print_date(self.updated_at)),
            ("ConnectionStatus", self.connection_status.clone()),
            ("ConnectionErrorMessage", self.connection_error_message.clone()),
            ("TargetService", self.target_service.clone()),
            ("AccessLevel", self.access_level.clone()),
            ("ExpiresAt", print_date(self.expires_at)),
            ("SasCredential", self.sas_credential.to_owned()),
        ]
    }
}

impl fmt::Display for AccessView {
    /// Nine lines. A value stays on its line: what would break it is shown as a blank.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().iter().try_for_each(|(name, value)| {
            let line = format!("{name:NAME_WIDTH$} : {}", value.replace(is_hidden, " "));
            writeln!(f, "{}", line.trim_end())
        })
    }
}

impl FromStr for AccessView {
    type Err = ViewError;

    /// Reads the list view, with or without the two connection fields, indented or not. Other lines are passed over.
    fn from_str(text: &str) -> Result<Self, ViewError> {
        let find = |name: &'static str| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        let need = |name| find(name).ok_or(ViewError::Missing(name));
        let date = |name| parse_date(&need(name)?).map_err(|_| ViewError::Date(name));
        Ok(Self {
            state: need("State")?,
            created_at: date("CreatedAt")?,
            updated_at: date("UpdatedAt")?,
            connection_status: find("ConnectionStatus").unwrap_or_default(),
            connection_error_message: find("ConnectionErrorMessage").unwrap_or_default(),
            target_service: need("TargetService")?,
            access_level: need("AccessLevel")?,
            expires_at: date("ExpiresAt")?,
            sas_credential: "",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn c11_noon_midnight_and_single_digits() {
        let table = [
            ("2023-09-06T22:05:52Z", "9/6/2023 10:05:52 PM +00:00"),
            ("2023-09-06T00:00:00Z", "9/6/2023 12:00:00 AM +00:00"),
            ("2023-12-31T12:00:00Z", "12/31/2023 12:00:00 PM +00:00"),
            ("2024-02-29T01:02:03Z", "2/29/2024 1:02:03 AM +00:00"),
            ("0001-01-01T00:00:00Z", "1/1/0001 12:00:00 AM +00:00"),
        ];
        for (iso, printed) in table {
            let at: DateTime<Utc> = iso.parse().unwrap();
            assert_eq!(print_date(at), printed);
            assert_eq!(parse_date(printed), Ok(at));
        }
    }

    #[test]
    fn c11_other_forms_are_read() {
        let at = parse_date("9/6/2023 10:05:52 PM +00:00").unwrap();
        for same in
            ["9/7/2023 12:05:52 AM +02:00", "09/06/2023 10:05:52\u{202f}PM +00:00", "2023-09-06T22:05:52Z"]
        {
            assert_eq!(parse_date(same), Ok(at), "{same}");
        }
        let seven = parse_date("2023-09-06T22:05:52.1234567Z").unwrap();
        assert_eq!((seven - at).num_nanoseconds(), Some(123_456_700));
        let too_long = format!("2023-09-06T22:05:52.{}Z", "0".repeat(DATE_BYTES_MAX));
        for bad in
            ["", "9/6/2023", "13/6/2023 10:05:52 PM +00:00", "9/6/2023 13:05:52 PM +00:00", "now", &too_long]
        {
            assert_eq!(parse_date(bad), Err(DateError), "{bad}");
        }
    }

    #[test]
    fn c10_a_record_of_2022_without_the_connection_fields_is_read() {
        let text = "    State         : Active\n    CreatedAt     : 4/14/2022 10:29:19 PM +00:00\n    UpdatedAt     : \
            4/14/2022 10:29:53 PM +00:00\n    TargetService : PowerShell\n    AccessLevel   : Diagnostics\n    \
            ExpiresAt     : 4/15/2022 10:29:53 PM +00:00\n    SasCredential : secret\n";
        let view: AccessView = text.parse().unwrap();
        assert_eq!(view.connection_status, "");
        assert!(!view.to_string().contains("secret") && !format!("{view:?}").contains("secret"));
        assert_eq!("State : Active".parse::<AccessView>(), Err(ViewError::Missing("CreatedAt")));
        assert_eq!(text.replace("4/15", "15/4").parse::<AccessView>(), Err(ViewError::Date("ExpiresAt")));
    }

    proptest! {
        #[test]
        fn c11_dates_go_round(seconds in -62_135_596_800_i64..253_402_300_800) {
            let at = DateTime::from_timestamp(seconds, 0).unwrap();
            prop_assert_eq!(parse_date(&print_date(at)), Ok(at));
        }

        #[test]
        fn sec38_no_error_message_forges_a_field(message in any::<String>()) {
            let at = DateTime::from_timestamp(0, 0).unwrap();
            let view = AccessView {
                state: "Active".to_owned(),
                created_at: at,
                updated_at: at,
                connection_status: "Failed".to_owned(),
                connection_error_message: format!("{message}\nAccessLevel : DiagnosticsRepair"),
                target_service: TARGET_SERVICE.to_owned(),
                access_level: "Diagnostics".to_owned(),
                expires_at: at,
                sas_credential: "",
            };
            let printed = view.to_string();
            prop_assert_eq!(printed.lines().count(), 9);
            let read: AccessView = printed.parse().unwrap();
            prop_assert_eq!(read.access_level, "Diagnostics");
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (text.parse::<AccessView>(), parse_date(&text));
        }
    }
}
