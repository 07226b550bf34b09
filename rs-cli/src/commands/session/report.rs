//! The report of one support request: who consented to what, who came in, what they did, and what logs left.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use rs_consent::RequestNumber;
use rs_session::bundle::Stored;
use rs_session::history::{self, Transcript};
use rs_session::record::{Content, ContentKey};
use serde::Serialize;
use uuid::Uuid;

use crate::context::Context;
use crate::outcome::{ErrorCode, Failure};
use crate::{node, output, records};

/// The report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CaseReport {
    /// The request.
    pub(crate) support_request: String,
    /// Why support was asked for.
    pub(crate) reason: Option<String>,
    /// Submitted, open or closed.
    pub(crate) state: Option<String>,
    /// The desk that took it.
    pub(crate) desk: Option<String>,
    /// Consents under which its sessions ran.
    pub(crate) grants: Vec<ReportedGrant>,
    /// Its sessions, oldest first.
    pub(crate) sessions: Vec<ReportedSession>,
    /// Bundles of logs that its sessions collected and that still lie on this node, oldest first.
    pub(crate) diagnostic_data: Vec<ReportedBundle>,
    /// Bundles on this node that cannot be read, of whatever request: in words.
    pub(crate) diagnostic_data_unread: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportedBundle {
    id: Uuid,
    session_id: Uuid,
    collected_at: DateTime<Utc>,
    parts: usize,
    bytes: u64,
    sha256: String,
    manifest_sha256: String,
    /// Where it lies on this node.
    path: String,
    /// What left the node, if it did.
    sent: Option<ReportedSending>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportedSending {
    at: DateTime<Utc>,
    /// Host and path, without the credential.
    destination: String,
    approved_by: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportedGrant {
    id: String,
    access_level: String,
    minutes: String,
    granted_by: String,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    terms_version: String,
    terms_sha256: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportedSession {
    id: Uuid,
    engineer: String,
    engineer_fingerprint: String,
    access_level: String,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    end_cause: Option<String>,
    commands: Vec<ReportedCommand>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportedCommand {
    at: DateTime<Utc>,
    invocation: u64,
    line: String,
    /// `refused`, or how it ended; `none` while it runs or where the session was cut.
    outcome: String,
    message: String,
    output_bytes: u64,
}

/// Collects the report of a request.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where neither the store nor any record knows it.
pub(crate) fn of_request(
    number: RequestNumber,
    key: &ContentKey,
    context: &Context,
) -> Result<CaseReport, Failure> {
    let store = node::existing_store(context)?;
    let request = store.as_ref().map(|store| store.request(number)).transpose()?.flatten();
    let folder = records::folder(&context.state);
    let mut sessions = Vec::new();
    let mut grants = Vec::new();
    for (id, path) in history::record_files(&folder)? {
        // A record that cannot be read is named by `session verify`, and is of no request that could be known.
        let Ok(summary) = history::session(&folder, id, context.clock.now().wall, key) else { continue };
        if summary.support_request != number {
            continue;
        }
        if !grants.contains(&summary.grant_id) {
            grants.push(summary.grant_id);
        }
        sessions.push(ReportedSession {
            id: summary.session_id,
            engineer: summary.engineer.clone(),
            engineer_fingerprint: summary.engineer_key.fingerprint().to_string(),
            access_level: summary.access_level.to_string(),
            started_at: summary.session_start_time,
            ended_at: summary.session_end_time,
            end_cause: summary.end_cause.map(|cause| cause.as_str().to_owned()),
            commands: commands(&path, key)?,
        });
    }
    if request.is_none() && sessions.is_empty() {
        return Err(Failure::new(ErrorCode::NotFound, "there is no such support request on this node")
            .about(number.to_string())
            .next_step("see `remote-support request list`"));
    }
    sessions.sort_by_key(|session| (session.started_at, session.id));
    let mut told = Vec::new();
    for id in grants {
        let grant =
            store.as_ref().map(|store| store.grant(rs_consent::GrantId::new(id))).transpose()?.flatten();
        told.extend(grant.map(|grant| ReportedGrant {
            id: grant.id.to_string(),
            access_level: grant.level.to_string(),
            minutes: grant.minutes.to_string(),
            granted_by: format!("{}@{}", grant.grantor.user, grant.grantor.host),
            state: format!("{:?}", grant.state),
            created_at: grant.created_at,
            updated_at: grant.updated_at,
            terms_version: grant.terms.version.to_string(),
            terms_sha256: grant.terms.sha256.to_string(),
        }));
    }
    let (diagnostic_data, diagnostic_data_unread) = bundles(number, context)?;
    Ok(CaseReport {
        support_request: number.to_string(),
        reason: request.as_ref().map(|request| request.reason.to_string()),
        state: request.as_ref().map(|request| format!("{:?}", request.state())),
        desk: request.as_ref().and_then(|request| Some(request.confirmed.as_ref()?.desk.name.to_string())),
        grants: told,
        sessions,
        diagnostic_data,
        diagnostic_data_unread,
    })
}

fn bundles(number: RequestNumber, context: &Context) -> Result<(Vec<ReportedBundle>, Vec<String>), Failure> {
    let store = records::bundles(&context.state);
    let (stored, faults) = store.list()?;
    let of_request = stored.into_iter().filter(|stored| stored.manifest.support_request == number);
    let mut bundles: Vec<ReportedBundle> = of_request
        .map(|Stored { manifest, manifest_sha256, released }| ReportedBundle {
            id: manifest.bundle_id,
            session_id: manifest.session_id,
            collected_at: manifest.collected_at,
            parts: manifest.parts.len(),
            bytes: manifest.archive.bytes,
            sha256: manifest.archive.sha256.to_string(),
            manifest_sha256: manifest_sha256.to_string(),
            path: store.path(manifest.bundle_id).display().to_string(),
            sent: released.map(|released| ReportedSending {
                at: released.at,
                destination: released.destination,
                approved_by: released.approved_by,
            }),
        })
        .collect();
    bundles.sort_by_key(|bundle| (bundle.collected_at, bundle.id));
    Ok((bundles, faults.iter().map(ToString::to_string).collect()))
}

fn commands(path: &std::path::Path, key: &ContentKey) -> Result<Vec<ReportedCommand>, Failure> {
    let mut commands: Vec<ReportedCommand> = Vec::new();
    let mut add = |at, invocation, line, outcome: &str, message| {
        commands.push(ReportedCommand {
            at,
            invocation,
            line,
            outcome: outcome.to_owned(),
            message,
            output_bytes: 0,
        });
    };
    let mut ends = Vec::new();
    let mut shown: std::collections::BTreeMap<u64, u64> = std::collections::BTreeMap::new();
    for row in Transcript::open(path, key.clone())? {
        // What lies behind damage is not told; `session verify` says where it is.
        let Ok(row) = row else { break };
        match row.content {
            Some(Content::Request(request)) => {
                add(row.wall_time, request.invocation, request.line, "none", String::new());
            }
            Some(Content::Refusal(refusal)) => {
                let why = format!("{}: {}", refusal.code, refusal.message);
                add(row.wall_time, refusal.invocation, refusal.line, "refused", why);
            }
            Some(Content::Output(output)) => {
                let (rs_session::record::OutputData::Text(text)
                | rs_session::record::OutputData::Objects(text)
                | rs_session::record::OutputData::Error(text)) = output.data;
                *shown.entry(output.invocation).or_default() += text.len() as u64;
            }
            Some(Content::Finished(finished)) => {
                let status = serde_json::to_value(finished.status).ok();
                let word = status.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
                ends.push((finished.invocation, word, finished.message));
            }
            _ => {}
        }
    }
    for (invocation, word, message) in ends {
        if let Some(command) = commands.iter_mut().find(|command| command.invocation == invocation) {
            (command.outcome, command.message) = (word, message);
        }
    }
    for command in &mut commands {
        command.output_bytes = shown.get(&command.invocation).copied().unwrap_or_default();
    }
    Ok(commands)
}

/// The report to read.
pub(crate) fn as_text(report: &CaseReport) -> String {
    let mut out = format!("Support request {}\n", report.support_request);
    let mut line = |indent: &str, name: &str, value: &str| {
        let _ = writeln!(out, "{indent}{name}: {}", output::safe(value));
    };
    let none = || "unknown".to_owned();
    line("  ", "Reason", &report.reason.clone().unwrap_or_else(none));
    line("  ", "State", &report.state.clone().unwrap_or_else(none));
    line("  ", "Desk", &report.desk.clone().unwrap_or_else(none));
    for grant in &report.grants {
        line("", "Consent", &grant.id);
        line("  ", "Access level", &grant.access_level);
        line("  ", "Minutes", &grant.minutes);
        line("  ", "Granted by", &grant.granted_by);
        line("  ", "State", &grant.state);
        line("  ", "From", &grant.created_at.to_rfc3339());
        line("  ", "Terms", &format!("{} (sha256 {})", grant.terms_version, grant.terms_sha256));
    }
    for session in &report.sessions {
        line("", "Session", &session.id.to_string());
        line(
            "  ",
            "Engineer",
            &format!("{} (key fingerprint {})", session.engineer, session.engineer_fingerprint),
        );
        line("  ", "Access level", &session.access_level);
        line("  ", "From", &session.started_at.to_rfc3339());
        line("  ", "To", &session.ended_at.map_or_else(|| "open".to_owned(), |at| at.to_rfc3339()));
        line("  ", "Ended by", session.end_cause.as_deref().unwrap_or("nobody yet"));
        for command in &session.commands {
            line("  ", &format!("{} line {}", command.at.to_rfc3339(), command.invocation), &command.line);
            let more =
                if command.message.is_empty() { String::new() } else { format!(": {}", command.message) };
            let outcome = format!("{}, {} bytes shown{more}", command.outcome, command.output_bytes);
            line("    ", "outcome", &outcome);
        }
    }
    for bundle in &report.diagnostic_data {
        line("", "Diagnostic data", &bundle.id.to_string());
        line("  ", "Session", &bundle.session_id.to_string());
        line("  ", "Collected", &bundle.collected_at.to_rfc3339());
        line(
            "  ",
            "Archive",
            &format!("{} parts, {} bytes (sha256 {})", bundle.parts, bundle.bytes, bundle.sha256),
        );
        line("  ", "Manifest", &format!("sha256 {}", bundle.manifest_sha256));
        line("  ", "Lies in", &bundle.path);
        let sent = bundle.sent.as_ref().map_or_else(
            || "no: it stayed on the node".to_owned(),
            |sent| {
                format!(
                    "to {} at {}, approved by {}",
                    sent.destination,
                    sent.at.to_rfc3339(),
                    sent.approved_by
                )
            },
        );
        line("  ", "Sent", &sent);
    }
    for fault in &report.diagnostic_data_unread {
        line("", "A bundle cannot be read", fault);
    }
    out
}
