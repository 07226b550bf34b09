//! What a level permits, and nothing else: the operations engine.
//!
//! A line goes through four pure steps before anything of the machine is touched: [`parse`] reads it, the [`Catalog`]
//! knows every published command, [`plan()`] decides and makes a typed [`Plan`], and only a plan reaches an
//! [`executor`]. Refusals of all steps have one type, [`Refused`], with column, code and advice.
//!
//! ```
//! use rs_session::operations::{parse, plan, Code, Context};
//! use rs_consent::AccessLevel;
//!
//! let context = Context::new(AccessLevel::Diagnostics);
//! let line = parse("Get-Process | sort CPU -Desc | select -First 3 Name, Id, CPU | ft").unwrap();
//! assert_eq!(plan(&line, &context).unwrap().command(), "Get-Process");
//!
//! let refused = context.plan_line("Stop-Service cron").unwrap_err();
//! assert_eq!(refused.code, Code::NeedsRepair);
//! ```
//!
//! | module | idea |
//! | --- | --- |
//! | [`catalog`] | the published lists, as data |
//! | [`language`] | the line as syntax |
//! | [`mod@offered`], [`mod@complete`] | what the rights offer, what may stand at the cursor |
//! | [`mod@plan`] | the decision: typed, or refused |
//! | [`jea`] | a level's rights as PowerShell role and session files |
//! | [`objects`], [`compare`], [`pattern`] | values, their order and comparisons |
//! | [`pipeline`], [`mod@format`] | objects through filters to text, streaming |
//! | [`providers`] | who answers a command |
//! | [`powershell`] | typed calls to a constrained PowerShell |
//! | [`worker`], [`sandbox`] | execution in a process that can be killed whole |
//! | [`executor`] | starting, reading and ending that process |
//! | [`leftovers`] | ending what a dead agent left |
//! | [`root_part`] | what an agent that is not root asks of root |

pub mod catalog;
pub mod compare;
pub mod complete;
pub mod critical;
#[cfg(feature = "driver")]
pub mod executor;
pub mod format;
pub mod jea;
pub mod language;
#[cfg(all(feature = "driver", feature = "native"))]
pub mod leftovers;
pub mod level_wish;
#[cfg(feature = "native")]
mod native;
pub mod objects;
pub mod offered;
mod own_rules;
pub mod pattern;
pub mod pipeline;
pub mod plan;
pub mod powershell;
#[cfg(any(feature = "driver", feature = "native"))]
mod process_tree;
pub mod providers;
pub mod refused;
pub mod root_part;
#[cfg(any(feature = "driver", feature = "native"))]
mod run;
#[cfg(feature = "native")]
pub mod sandbox;
pub mod wire;
mod withhold;
#[cfg(feature = "native")]
pub mod worker;

pub use self::catalog::{Availability, Catalog, Effect, Effects, Machine, Policy, Variant};
pub use self::complete::{Completion, complete};
pub use self::language::{Pipeline, parse};
pub use self::objects::{Object, Value};
pub use self::offered::{Offered, offered};
pub use self::own_rules::CommandRules;
pub use self::plan::{Context, Limits, OutputForm, Plan, plan};
pub use self::refused::{Code, Refused};
