//! `access`: consents, in the product's form.

use clap::Args;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// Arguments of `access`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// List also consents that ended in the last 30 days, expired or revoked.
    #[arg(long, env = "REMOTE_SUPPORT_INCLUDE_EXPIRED", value_parser = clap::builder::BoolishValueParser::new())]
    pub include_expired: bool,
}

/// Lists consents.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_args: &AccessArgs, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("access"))
}
