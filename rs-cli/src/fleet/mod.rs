//! Several nodes from one place: each is asked by a command of its own, over the operator's remote shell.
//!
//! ```text
//! target    which nodes: names, lists, their bounds            pure
//! shell     the words of the command, and their quoting        pure
//! answer    what a node's output means, believed as little     pure
//! summary   how many of how many, in words                     pure
//! run       the processes: so many at once, each with an end
//! verbs     what `enable`, `disable`, `access` and `history` make of it
//! ```
//!
//! There is no port, key or trust of our own: who may do something on a node is decided there, by whoever the shell logs in
//! as, by the same commands that a person would type.

pub mod answer;
mod cluster;
mod run;
pub mod shell;
pub mod summary;
pub mod target;
pub(crate) mod verbs;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub use self::run::{ANSWER_BYTES_MAX, AT_ONCE_MAX, WORDS_BYTES_MAX};
pub(crate) use self::run::{Asked, ask_all, ask_until};
use self::shell::{NodeShell, quote};
use self::target::{Host, LIST_BYTES_MAX};
use crate::files;
use crate::outcome::{ErrorCode, Failure};

/// Options that say on which nodes something is done. They have no environment variable: what is meant for this node must
/// not go elsewhere, or the other way round, because of a setting that a shell inherited.
pub const NODE_OPTIONS: &[&str] = &["node", "nodes-from", "cluster"];

/// So many seconds a node has for its answer, when nothing is said.
pub const NODE_SECONDS: u16 = 30;
/// The most seconds that can be given to a node.
pub const NODE_SECONDS_MAX: u16 = 600;

/// On which nodes, and how they are reached; on this node where none is named.
#[derive(Debug, Clone, Default, Args)]
pub struct FleetArgs {
    /// Do it on this node and not here, over your remote shell: HOST or USER@HOST; can be repeated.
    #[arg(
        long,
        value_name = "HOST",
        alias = "computer-name",
        value_delimiter = ',',
        help_heading = "Several nodes"
    )]
    pub node: Vec<Host>,
    /// As --node for each line of this file; `#` begins a comment.
    #[arg(long, value_name = "FILE", help_heading = "Several nodes")]
    pub nodes_from: Option<PathBuf>,
    /// As --node for each node of this cluster, as the cluster service of Windows names them.
    #[arg(long, help_heading = "Several nodes")]
    pub cluster: bool,
    /// Remote shell: a program by its whole path, or `ssh` for the system's, and its arguments, blanks between them. It is
    /// called as ssh is and must not ask anything [default: ssh].
    #[arg(long, value_name = "LINE", env = "REMOTE_SUPPORT_NODE_SHELL", help_heading = "Several nodes")]
    pub node_shell: Option<String>,
    /// What is called on a node, blanks between the words, for example `sudo -n remote-support` [default: remote-support].
    #[arg(long, value_name = "LINE", env = "REMOTE_SUPPORT_NODE_COMMAND", help_heading = "Several nodes")]
    pub node_command: Option<String>,
    /// Seconds that each node has for its answer, 1 to 600 [default: 30].
    #[arg(
        long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=i64::from(NODE_SECONDS_MAX)),
        env = "REMOTE_SUPPORT_NODE_TIMEOUT", help_heading = "Several nodes"
    )]
    pub node_timeout: Option<u16>,
}

/// Nodes that are asked, in the order in which they were named.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) hosts: Vec<Host>,
    pub(crate) shell: NodeShell,
    pub(crate) limit: Duration,
    /// What has to be said again to reach the same nodes in the same way.
    pub(crate) options: String,
}

impl FleetArgs {
    /// The nodes that are meant; `None` for this one.
    ///
    /// # Errors
    ///
    /// A list that cannot be read, names no node or too many; a remote shell that cannot be used;
    /// [`ErrorCode::NotAvailable`] where nobody knows the nodes of the cluster.
    pub(crate) fn fleet(&self) -> Result<Option<Fleet>, Failure> {
        self.with(Vec::new())
    }

    /// As [`FleetArgs::fleet`], of these nodes too.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn with(&self, mut hosts: Vec<Host>) -> Result<Option<Fleet>, Failure> {
        hosts.extend(self.node.iter().cloned());
        if let Some(path) = &self.nodes_from {
            let bytes = files::read(path, LIST_BYTES_MAX)?;
            hosts.extend(target::parse_list(&bytes).map_err(|error| {
                Failure::new(ErrorCode::InvalidFile, "the list of nodes cannot be used")
                    .about(path.display().to_string())
                    .because(error)
                    .next_step("write one node on a line, as HOST or USER@HOST; `#` begins a comment")
            })?);
        }
        if self.cluster {
            hosts.extend(cluster::nodes()?);
        }
        let hosts = target::distinct(hosts).map_err(|error| {
            Failure::new(ErrorCode::InvalidValue, "these are too many nodes").because(error)
        })?;
        if hosts.is_empty() {
            return Ok(None);
        }
        let limit = Duration::from_secs(self.node_timeout.unwrap_or(NODE_SECONDS).into());
        let shell = NodeShell::new(self.node_shell.as_deref(), self.node_command.as_deref())?;
        Ok(Some(Fleet { hosts, shell, limit, options: self.options() }))
    }

    fn options(&self) -> String {
        let timeout = self.node_timeout.map(|seconds| seconds.to_string());
        let given = [
            ("node-shell", self.node_shell.as_deref()),
            ("node-command", self.node_command.as_deref()),
            ("node-timeout", timeout.as_deref()),
        ];
        let word = |(name, value): (&str, Option<&str>)| Some(format!(" --{name} {}", quote(value?)));
        given.into_iter().filter_map(word).collect()
    }
}

impl Fleet {
    /// `--node a --node b` for these, with the rest of what has to be said.
    pub(crate) fn again<'a>(&self, hosts: impl IntoIterator<Item = &'a Host>) -> String {
        let nodes: String = hosts.into_iter().map(|host| format!(" --node {host}")).collect();
        format!("{nodes}{}", self.options)
    }
}
