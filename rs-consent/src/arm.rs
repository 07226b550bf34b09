//! Azure Resource Manager's wire types for remote support, as API versions 2024-04-01 to 2026-02-01 have them.
//!
//! Three things are as the service does them rather than as its schema says them. `accessLevel` of a request is marked
//! read-only by mistake; it is accepted and sent here. The expiry is spelled `expirationTimeStamp` at the cluster and
//! `expirationTimestamp` at a job; each is written as its type has it and both are read. All enumerations are open: a
//! value that is not known is kept as it is, and so are members that are not known.
//!
//! ARM says until when, the cmdlets say for how long. [`minutes_until`] and [`expiration`] are the only two places
//! where one becomes the other.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::level::{AccessLevel, Surface};
use crate::minutes::{Minutes, MinutesError};

/// A time of ARM: UTC, written with up to seven fractional digits. A time without zone is read as UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArmTime(pub DateTime<Utc>);

/// A text that is no time of ARM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a time of ARM: write 2026-01-02T03:04:05Z")]
pub struct ArmTimeError;

impl TryFrom<String> for ArmTime {
    type Error = ArmTimeError;

    fn try_from(text: String) -> Result<Self, ArmTimeError> {
        let zoned = DateTime::parse_from_rfc3339(&text).map(|at| at.to_utc());
        zoned
            .or_else(|_| text.parse::<NaiveDateTime>().map(|at| at.and_utc()))
            .map(Self)
            .map_err(|_| ArmTimeError)
    }
}

impl From<ArmTime> for String {
    fn from(time: ArmTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for ArmTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticks = self.0.timestamp_subsec_nanos() % 1_000_000_000 / 100;
        write!(f, "{}", self.0.format("%Y-%m-%dT%H:%M:%S"))?;
        match ticks {
            0 => f.write_str("Z"),
            _ => write!(f, ".{}Z", format!("{ticks:07}").trim_end_matches('0')),
        }
    }
}

macro_rules! open_enums {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = concat!("`", stringify!($variant), "`.")] $variant,)+
            /// Any other value, kept as it is.
            Unknown(String),
        }

        impl $name {
            /// The value as ARM writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                    Self::Unknown(text) => text,
                }
            }
        }

        impl From<String> for $name {
            /// Known values are found without regard to ASCII case.
            fn from(text: String) -> Self {
                $(if text.eq_ignore_ascii_case(stringify!($variant)) {
                    return Self::$variant;
                })+
                Self::Unknown(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    )+};
}

open_enums! {
    /// An access level as ARM spells it.
    ArmAccessLevel {
        /// No access: jobs know it, and clusters report it after a revocation.
        ///
        None,
        Diagnostics,
        DiagnosticsAndRepair,
    }

    /// What is asked for.
    RemoteSupportType { Enable, Revoke }

    /// How far a job has come.
    JobStatus {
        NotSpecified, ValidationInProgress, ValidationSuccess, ValidationFailed, DeploymentInProgress,
        DeploymentFailed, DeploymentSuccess, Succeeded, Failed, Canceled, Paused, Scheduled,
    }

    /// How far a resource has come.
    ProvisioningState {
        NotSpecified, Error, Succeeded, Failed, Canceled, Connected, Disconnected, Deleted, Creating, Updating,
        Deleting, Moving, PartiallySucceeded, PartiallyConnected, InProgress, Accepted, Provisioning,
        DisableInProgress,
    }

    /// What kind of job it is.
    JobType { CollectLog, RemoteSupport, ProvisionOs, DownloadOs }
}

impl ArmAccessLevel {
    /// The level, if this is one; `None` and unknown values are not.
    #[must_use]
    pub fn level(&self) -> Option<AccessLevel> {
        AccessLevel::ALL.into_iter().find(|level| level.on(Surface::Arm) == self.as_str())
    }
}

impl From<AccessLevel> for ArmAccessLevel {
    fn from(level: AccessLevel) -> Self {
        match level {
            AccessLevel::Diagnostics => Self::Diagnostics,
            AccessLevel::DiagnosticsRepair => Self::DiagnosticsAndRepair,
        }
    }
}

/// For how many minutes a consent is that is asked for at `requested` and ends at `expires`: whole minutes, rounded
/// down, so that no time is added.
///
/// # Errors
/// [`MinutesError::OutOfRange`] below 60 minutes and above 14 days, to the nanosecond.
///
/// ```
/// use rs_consent::arm::minutes_until;
///
/// let requested = "2026-01-02T03:04:05Z".parse()?;
/// assert_eq!(minutes_until("2026-01-02T04:04:35Z".parse()?, requested)?.get(), 60);
/// assert!(minutes_until("2026-01-02T04:04:04Z".parse()?, requested).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn minutes_until(expires: DateTime<Utc>, requested: DateTime<Utc>) -> Result<Minutes, MinutesError> {
    let span: TimeDelta = expires.signed_duration_since(requested);
    if span > Minutes::MAX.delta() {
        return Err(MinutesError::OutOfRange);
    }
    Minutes::new(span.num_minutes())
}

/// Until when a consent lasts that is asked for at `requested`; `None` beyond the end of time.
#[must_use]
pub fn expiration(minutes: Minutes, requested: DateTime<Utc>) -> Option<ArmTime> {
    requested.checked_add_signed(minutes.delta()).map(ArmTime)
}

/// Body of `POST .../clusters/{name}/configureRemoteSupport`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteSupportRequest {
    /// What is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<RemoteSupportRequestProperties>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// What is asked of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteSupportRequestProperties {
    /// The level; marked read-only by the schema, and sent all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_level: Option<ArmAccessLevel>,
    /// Until when.
    #[serde(
        rename = "expirationTimeStamp",
        alias = "expirationTimestamp",
        skip_serializing_if = "Option::is_none"
    )]
    pub expiration_time_stamp: Option<ArmTime>,
    /// Enable or revoke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_support_type: Option<RemoteSupportType>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// `properties.remoteSupportProperties` of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteSupportProperties {
    /// The level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_level: Option<ArmAccessLevel>,
    /// Until when.
    #[serde(
        rename = "expirationTimeStamp",
        alias = "expirationTimestamp",
        skip_serializing_if = "Option::is_none"
    )]
    pub expiration_time_stamp: Option<ArmTime>,
    /// Enabled or revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_support_type: Option<RemoteSupportType>,
    /// How each node stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote_support_node_settings: Vec<RemoteSupportNodeSettings>,
    /// The sessions of all nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote_support_session_details: Vec<PerNodeRemoteSupportSession>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// How a node stands. A job of an edge device leaves out `arcResourceId` and `transcriptLocation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteSupportNodeSettings {
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arc_resource_id: Option<String>,
    /// The state of the grant, such as `Active` or `Expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// When the grant was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<ArmTime>,
    /// When it was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<ArmTime>,
    /// How the connection stands, such as `Connected`; free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_status: Option<String>,
    /// Why the last connection failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_error_message: Option<String>,
    /// Where the transcripts are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript_location: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// A session, as a cluster lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PerNodeRemoteSupportSession {
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_start_time: Option<ArmTime>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_end_time: Option<ArmTime>,
    /// On which node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// How long; the unit is said nowhere. What this program writes are seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// At which level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_level: Option<ArmAccessLevel>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// Properties of a remote support job of an edge device or an edge machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteSupportJobProperties {
    /// Always `RemoteSupport`.
    pub job_type: JobType,
    /// The level.
    #[serde(alias = "accesslevel")]
    pub access_level: ArmAccessLevel,
    /// Until when.
    #[serde(rename = "expirationTimestamp", alias = "expirationTimeStamp")]
    pub expiration_timestamp: ArmTime,
    /// Enable or revoke.
    #[serde(rename = "type")]
    pub kind: RemoteSupportType,
    /// `Validate` or `Deploy` as the job base has it; free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_mode: Option<String>,
    /// How far the resource has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_state: Option<ProvisioningState>,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time_utc: Option<ArmTime>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time_utc: Option<ArmTime>,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
    /// Why it failed; jobs of edge machines have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
    /// What the node reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_properties: Option<RemoteSupportJobReportedProperties>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// What a node reports on a remote support job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteSupportJobReportedProperties {
    /// How much is done, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<i32>,
    /// How the validation stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_status: Option<EceActionStatus>,
    /// How the deployment stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_status: Option<EceActionStatus>,
    /// How the node stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_settings: Option<RemoteSupportNodeSettings>,
    /// The sessions.
    #[serde(alias = "SessionDetails", skip_serializing_if = "Vec::is_empty")]
    pub session_details: Vec<RemoteSupportSession>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// A session, as a job lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteSupportSession {
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_start_time: Option<ArmTime>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_end_time: Option<ArmTime>,
    /// At which level.
    #[serde(alias = "AccessLevel", skip_serializing_if = "Option::is_none")]
    pub access_level: Option<ArmAccessLevel>,
    /// Where the transcript is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript_location: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// How an action of the orchestrator stands; its steps are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EceActionStatus {
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Value>,
    /// The rest.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// ARM's common error form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorDetail {
    /// For programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The rest, among it `details` and `additionalInfo`.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;

    #[track_caller]
    fn goes_round<T: Serialize + DeserializeOwned>(json: &Value) -> T {
        let value: T = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&value).unwrap(), *json);
        value
    }

    fn cluster() -> Value {
        serde_json::json!({
            "accessLevel": "Diagnostics",
            "expirationTimeStamp": "2026-01-01T17:18:19.1234567Z",
            "remoteSupportType": "Enable",
            "remoteSupportNodeSettings": [{
                "arcResourceId": "/subscriptions/0/resourceGroups/rg/providers/Microsoft.HybridCompute/machines/node-01",
                "state": "Active",
                "createdAt": "2026-01-01T16:18:19.1Z",
                "updatedAt": "2026-01-01T16:18:19Z",
                "connectionStatus": "Connected",
                "connectionErrorMessage": "",
                "transcriptLocation": "C:\\transcripts"
            }],
            "remoteSupportSessionDetails": [{
                "sessionStartTime": "2026-01-01T16:20:00Z",
                "sessionEndTime": "2026-01-01T16:22:00Z",
                "nodeName": "node-01",
                "duration": 120,
                "accessLevel": "Diagnostics"
            }]
        })
    }

    #[test]
    fn i02_i04_both_forms_go_round_with_their_level() {
        let request = goes_round::<RemoteSupportRequest>(&serde_json::json!({
            "properties": {
                "accessLevel": "DiagnosticsAndRepair",
                "expirationTimeStamp": "2026-01-01T17:18:19.1234567Z",
                "remoteSupportType": "Enable"
            }
        }));
        let level = request.properties.unwrap().access_level.unwrap().level();
        assert_eq!(level, Some(AccessLevel::DiagnosticsRepair));
        goes_round::<RemoteSupportProperties>(&cluster());
        goes_round::<RemoteSupportJobProperties>(&serde_json::json!({
            "jobType": "RemoteSupport",
            "accessLevel": "None",
            "expirationTimestamp": "2026-01-01T17:18:19Z",
            "type": "Revoke",
            "deploymentMode": "Deploy",
            "provisioningState": "Succeeded",
            "jobId": "1",
            "startTimeUtc": "2026-01-01T16:18:19Z",
            "endTimeUtc": "2026-01-01T16:18:20Z",
            "status": "DeploymentSuccess",
            "error": { "code": "c", "message": "m", "target": "t", "details": [{ "code": "d" }] },
            "reportedProperties": {
                "percentComplete": 100,
                "validationStatus": { "status": "Success", "steps": [{ "name": "one" }] },
                "deploymentStatus": { "status": "Success" },
                "nodeSettings": { "state": "Active", "connectionStatus": "Connected" },
                "sessionDetails": [{
                    "sessionId": "2f1e1f2a-3d9c-4d57-8a5e-0e3f6f1b8c11",
                    "sessionStartTime": "2026-01-01T16:20:00Z",
                    "accessLevel": "Diagnostics",
                    "transcriptLocation": "C:\\transcripts"
                }]
            }
        }));
    }

    #[test]
    fn i03_either_spelling_is_read_and_each_type_writes_its_own() {
        let lower = r#"{"expirationTimestamp":"2026-01-01T17:18:19Z"}"#;
        let cluster: RemoteSupportRequestProperties = serde_json::from_str(lower).unwrap();
        assert_eq!(
            serde_json::to_string(&cluster).unwrap(),
            r#"{"expirationTimeStamp":"2026-01-01T17:18:19Z"}"#
        );
        let upper = r#"{"jobType":"RemoteSupport","accesslevel":"Diagnostics","expirationTimeStamp":"2026-01-01T17:18:19Z","type":"Enable"}"#;
        let job: RemoteSupportJobProperties = serde_json::from_str(upper).unwrap();
        let written = serde_json::to_string(&job).unwrap();
        assert!(
            written.contains("\"expirationTimestamp\"") && written.contains("\"accessLevel\""),
            "{written}"
        );
    }

    #[test]
    fn i05_unknown_values_and_members_are_kept() {
        let mut json = cluster();
        json["accessLevel"] = "Everything".into();
        json["remoteSupportProvisioningState"] = "None".into();
        json["remoteSupportNodeSettings"][0]["provisionStatus"] = "Disconnected".into();
        let read = goes_round::<RemoteSupportProperties>(&json);
        assert_eq!(read.access_level.unwrap().level(), None);
        let status = JobStatus::from("dEployMentSuccess".to_owned());
        assert_eq!(status, JobStatus::DeploymentSuccess);
        assert_eq!(JobStatus::from("New".to_owned()).as_str(), "New");
    }

    #[test]
    fn times_without_zone_are_utc() {
        let read: ArmTime = serde_json::from_str(r#""0001-01-01T00:00:00""#).unwrap();
        assert_eq!(read.to_string(), "0001-01-01T00:00:00Z");
        assert!(serde_json::from_str::<ArmTime>(r#""yesterday""#).is_err());
    }

    #[test]
    fn i08_the_range_holds_at_this_edge_too() {
        let requested: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let until = |span: TimeDelta| minutes_until(requested + span, requested).map(Minutes::get);
        let nanosecond = TimeDelta::nanoseconds(1);
        assert_eq!(until(TimeDelta::minutes(59)), Err(MinutesError::OutOfRange));
        assert_eq!(until(TimeDelta::minutes(60) - nanosecond), Err(MinutesError::OutOfRange));
        assert_eq!(until(TimeDelta::minutes(60)), Ok(60));
        assert_eq!(until(TimeDelta::seconds(3659)), Ok(60));
        assert_eq!(until(TimeDelta::days(14)), Ok(20160));
        assert_eq!(until(TimeDelta::days(14) + nanosecond), Err(MinutesError::OutOfRange));
        assert_eq!(until(TimeDelta::days(14) + TimeDelta::seconds(1)), Err(MinutesError::OutOfRange));
        assert_eq!(until(-TimeDelta::hours(2)), Err(MinutesError::OutOfRange));
        assert_eq!(
            minutes_until(DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC),
            Err(MinutesError::OutOfRange)
        );
    }

    proptest! {
        #[test]
        fn i08_minutes_go_round(minutes in 60_i64..=20160, second in 0_i64..4_000_000_000) {
            let requested = DateTime::from_timestamp(second, 0).unwrap();
            let minutes = Minutes::new(minutes).unwrap();
            let until = expiration(minutes, requested).unwrap();
            prop_assert_eq!(minutes_until(until.0, requested), Ok(minutes));
        }

        #[test]
        fn c01_arm_spellings_go_round(text in "\\PC{0,20}") {
            let read = ArmAccessLevel::from(text.clone());
            if let ArmAccessLevel::Unknown(kept) = &read {
                prop_assert_eq!(kept, &text);
            }
            prop_assert_eq!(ArmAccessLevel::from(read.as_str().to_owned()), read);
        }

        #[test]
        fn times_go_round_to_the_tick(second in -62_135_596_800_i64..253_402_300_800, tick in 0_u32..10_000_000) {
            let time = ArmTime(DateTime::from_timestamp(second, tick * 100).unwrap());
            prop_assert_eq!(ArmTime::try_from(time.to_string()), Ok(time));
        }
    }
}
