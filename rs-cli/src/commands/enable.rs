//! `enable`: one act of consent, from the terms to the grant.

use std::path::PathBuf;

use clap::Args;
use rs_consent::{AccessLevel, Minutes};

use crate::context::Context;
use crate::outcome::{Failure, Outcome};
use crate::values::AccessLevelParser;

/// Options by which somebody agrees. They have no environment variable: agreeing is an act, not a setting that a
/// shell could inherit.
pub const CONSENT_OPTIONS: &[&str] = &["agree-to-remote-support-consent", "agree-to-terms"];

/// Arguments of `enable`.
#[derive(Debug, Args)]
pub struct EnableArgs {
    /// What an engineer may do; in any case and public spelling.
    #[arg(
        long, value_name = "Diagnostics|DiagnosticsRepair", hide_possible_values = true, required = true,
        value_parser = AccessLevelParser, env = "REMOTE_SUPPORT_ACCESS_LEVEL"
    )]
    pub access_level: AccessLevel,
    /// Minutes until the access ends by itself, 60 to 20160 (1 hour to 14 days); also as 8h, 1d or PT8H.
    #[arg(
        long,
        value_name = "MINUTES",
        alias = "expire-minutes",
        default_value_t,
        allow_hyphen_values = true,
        env = "REMOTE_SUPPORT_EXPIRE_IN_MINUTES"
    )]
    pub expire_in_minutes: Minutes,
    /// File with the relay credential that support handed out, mode 0600, or `-` for standard input.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_SAS_CREDENTIAL_FILE")]
    pub sas_credential_file: Option<PathBuf>,
    /// Give access for this support request only: its 16-digit number, or the file with the desk's opening, which is
    /// confirmed on the way [default: any open request].
    #[arg(long, value_name = "NUMBER|FILE", env = "REMOTE_SUPPORT_SUPPORT_REQUEST")]
    pub support_request: Option<String>,
    /// Agree to the terms without being asked.
    #[arg(long)]
    pub agree_to_remote_support_consent: bool,
    /// Agree to the terms of this version without being asked; refused where the terms are of another version.
    #[arg(long, value_name = "VERSION")]
    pub agree_to_terms: Option<String>,
    /// Let Enter mean Yes, as in the product's own prompt.
    #[arg(long, env = "REMOTE_SUPPORT_COMPAT_PROMPT", value_parser = clap::builder::BoolishValueParser::new())]
    pub compat_prompt: bool,
}

/// Gives consent.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_args: &EnableArgs, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("enable"))
}
