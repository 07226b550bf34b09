//! What an agent that is not root hands over to root, and by what root judges it once more.
//!
//! The agent of a service runs as a user of its own. What only root can do ([`takes`]) it asks of a second process, which
//! runs as root, answers one [`Request`] and is gone. A request is a session, the catalog that it was made from, and a
//! typed [`Plan`]; there is no program, path or text in it that anything would run. The root part takes nothing on the
//! agent's word: [`judge`] decides by a [`Warrant`], which root itself wrote when the owner consented and which the agent's
//! user cannot write. So an agent that somebody has taken over gets from root what the consent in force permits, and
//! nothing beyond it.
//!
//! ```
//! use rs_session::operations::{root_part, Context};
//! use rs_consent::AccessLevel;
//!
//! let context = Context::new(AccessLevel::DiagnosticsRepair);
//! assert!(!root_part::takes(&context.plan_line("Get-Date").unwrap()));
//! assert!(root_part::takes(&context.plan_line("Stop-Service cron").unwrap()));
//! ```

use rs_consent::clock::{CLOCK_BACK_ALLOWANCE, Now};
use rs_consent::{AccessLevel, Grant, GrantState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Catalog;
use super::critical::ServiceRules;
use super::own_rules::CommandRules;
use super::plan::{Plan, PlanMismatch, protected_service};
use super::wire::PLAN_BYTES_MAX;

/// Most bytes of a request; longer ones are refused before memory is taken.
pub const REQUEST_BYTES_MAX: usize = PLAN_BYTES_MAX;
/// Most bytes of a warrant: a grant with all its changes.
pub const WARRANT_BYTES_MAX: usize = 1 << 20;

/// What is asked of the root part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Request {
    /// The session that it is for.
    pub session: Uuid,
    /// Hash of the catalog that the plan was made from.
    pub catalog: String,
    /// What is to be done.
    pub plan: Plan,
}

impl Request {
    /// Asks for a plan in a session, with this program's catalog.
    #[must_use]
    pub fn new(session: Uuid, plan: Plan) -> Self {
        Self { session, catalog: Catalog::sha256().to_owned(), plan }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`Unwarranted::Malformed`] for anything that is none, and for one over [`REQUEST_BYTES_MAX`].
    pub fn read(bytes: &[u8]) -> Result<Self, Unwarranted> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(Unwarranted::Malformed);
        }
        serde_json::from_slice(bytes).map_err(|_| Unwarranted::Malformed)
    }
}

/// What root itself knows of the owner's consent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Warrant {
    /// The grant as it was last consented to.
    pub grant: Grant,
    /// What the owner had added to the protected services by then.
    #[serde(default)]
    pub services: ServiceRules,
    /// What the owner had taken out by then.
    #[serde(default)]
    pub commands: CommandRules,
}

impl Warrant {
    /// What is carried out for a request that passed [`judge`]: its plan, with the services that root was told to protect
    /// beside those that it names itself. The machine's names of a service (aliases, links, its program, what would go down
    /// with it) are looked at by the operation, which knows no rules but those in its plan.
    #[must_use]
    pub fn plan(&self, request: &Request) -> Plan {
        let mut plan = request.plan.clone();
        plan.services = self.services.with(&plan.services);
        plan
    }
}

/// Why root does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwarranted {
    /// It is not in the form of a request.
    #[error("this is not in the form of a request; agent and root part must be of one version")]
    Malformed,
    /// Root was told of no consent.
    #[error(
        "root knows of no consent in force: give it as root, with `remote-support enable`, so that root is told too"
    )]
    NoConsent,
    /// The consent has ended, or still waits.
    #[error("the consent that root knows of is {0}; give a fresh one with `remote-support enable`")]
    Over(GrantState),
    /// The clock shows a time before the consent.
    #[error("the clock went back behind the consent; set it, and give a fresh consent")]
    ClockWentBack,
    /// The plan was made from another catalog.
    #[error("agent and root part have different catalogs; restart the agent after an update")]
    OtherCatalog,
    /// The plan claims a level above the consent's.
    #[error("the consent in force is for {granted}, and not for {claimed}")]
    Level {
        /// What the owner consented to.
        granted: AccessLevel,
        /// What was claimed.
        claimed: AccessLevel,
    },
    /// The plan claims other lists, or leaves out what the owner narrowed.
    #[error("the consent in force is for other lists of commands, or narrower")]
    Scope,
    /// The plan does not fit the catalog.
    #[error(transparent)]
    Plan(#[from] PlanMismatch),
    /// Nothing that only root can do.
    #[error("{0} needs nothing that only root can do; the agent does it as its own user")]
    NotForRoot(String),
    /// A command that the owner takes out.
    #[error("{0} is taken out of every level by the owner of the node")]
    TakenOut(String),
    /// A protected service.
    #[error("{name} {why} and is neither started nor stopped from a session")]
    Service {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// The owner wants to be asked, and root has not heard the answer.
    #[error(
        "the owner wants to be asked before a change, and root knows of no Yes to this call; answer as root, with \
         `remote-support session approve`"
    )]
    NotApproved,
}

/// Whether a plan is for the root part: its command changes what only root may change, or reads what only root can read.
#[must_use]
pub fn takes(plan: &Plan) -> bool {
    plan.definition().is_some_and(|definition| {
        let needs = definition.needs;
        needs.root || needs.reads_as_root || needs.processes
    })
}

/// Whether a plan is of use without root too, with a poorer answer: it only reads.
#[must_use]
pub fn can_do_without(plan: &Plan) -> bool {
    !plan.effects().changes_state()
}

/// Judges a request by what root knows. What passes may run; where [`asks_owner`] holds it must have been approved too.
///
/// # Errors
/// [`Unwarranted`], the first of its reasons that applies; nothing may run then.
pub fn judge(request: &Request, warrant: Option<&Warrant>, now: &Now) -> Result<(), Unwarranted> {
    let plan = &request.plan;
    let warrant = warrant.ok_or(Unwarranted::NoConsent)?;
    let grant = &warrant.grant;
    match grant.state_at(now) {
        GrantState::Active => {}
        state => return Err(Unwarranted::Over(state)),
    }
    if grant.updated_at.signed_duration_since(now.wall) > CLOCK_BACK_ALLOWANCE {
        return Err(Unwarranted::ClockWentBack);
    }
    if request.catalog != Catalog::sha256() {
        return Err(Unwarranted::OtherCatalog);
    }
    if plan.level > grant.level {
        return Err(Unwarranted::Level { granted: grant.level, claimed: plan.level });
    }
    let widened = grant.scope.strict_read_only && !plan.policy.strict_read_only;
    if plan.variant.as_str() != grant.scope.product.as_str() || widened {
        return Err(Unwarranted::Scope);
    }
    plan.check()?;
    if warrant.commands.take_out(plan.command()) {
        return Err(Unwarranted::TakenOut(plan.command().to_owned()));
    }
    if !takes(plan) {
        return Err(Unwarranted::NotForRoot(plan.command().to_owned()));
    }
    if let Some((name, why)) = protected_service(&plan.call, &warrant.services) {
        return Err(Unwarranted::Service { name: name.to_owned(), why });
    }
    Ok(())
}

/// Whether the owner wants to be asked before this call.
#[must_use]
pub fn asks_owner(request: &Request, warrant: &Warrant) -> bool {
    warrant.grant.approval.asks_before_changes() && request.plan.effects().changes_state()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
