//! What an operation needs of the machine, declared beside its effects. The sandbox gives this and nothing else.
//!
//! A definition without needs of its own gets [`Needs::KERNEL`]: it reads the kernel's tables under `/proc` and `/sys`,
//! as an account without rights, in an empty network. Whatever else it touches is declared:
//!
//! ```
//! use rs_session::operations::catalog::{Needs, Network};
//!
//! const SHARES: Needs = Needs::KERNEL.reading(&["/etc/samba/smb.conf"]);
//! const SOCKETS: Needs = Needs::KERNEL.network(Network::State).facts_about_processes();
//! assert_eq!(SHARES.network, Network::None);
//! assert!(SOCKETS.processes);
//! ```
//!
//! | it wants to | it declares |
//! | --- | --- |
//! | read a file or everything in a directory | [`reading`](Needs::reading) |
//! | read such a file though only root may | [`reading_as_root`](Needs::reading_as_root) |
//! | know files, sockets and program of other processes | [`facts_about_processes`](Needs::facts_about_processes) |
//! | list sockets, routes, addresses, interfaces | [`network`](Needs::network) with [`Network::State`] |
//! | connect | [`network`](Needs::network) with [`Network::Connect`] |
//! | run a program, such as `systemctl` | [`running`](Needs::running), with all that the program reads |
//! | talk to a service of the machine, such as D-Bus | [`talking_to`](Needs::talking_to) |
//! | open a service's pipe for writing | [`through_pipes`](Needs::through_pipes) |
//! | be root, without any capability | [`as_root`](Needs::as_root) |
//! | measure how long a durable write takes | [`with_scratch_file`](Needs::with_scratch_file) |

use super::{Effect, Effects};

/// What an operation may do with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// Nothing: it runs in an empty network of its own, and cannot make sockets.
    None,
    /// Ask the kernel about the node's network; it can make no other sockets.
    State,
    /// Connect by TCP to these ports, and by UDP for names; nobody can connect to it.
    Connect(&'static [u16]),
}

/// What an operation needs of the machine. Paths are absolute; those that do not exist are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// Files, and directories with everything below them, that it reads.
    pub reads: &'static [&'static str],
    /// True if it reads them though their owner does not permit it.
    pub reads_as_root: bool,
    /// Programs that it starts. They run inside the same sandbox.
    pub programs: &'static [&'static str],
    /// Sockets of services of this machine that it talks to.
    pub sockets: &'static [&'static str],
    /// Pipes that it opens for writing, to ask or tell a service; one part of a path can be `*`. Nothing but a pipe can
    /// be opened by this.
    pub pipes: &'static [&'static str],
    /// What it may do with the network.
    pub network: Network,
    /// True if it gets a table of the processes' programs, files and sockets, taken before it is shut in.
    pub processes: bool,
    /// True if it gets one open file without a name on the state disk.
    pub scratch_file: bool,
    /// True if it runs as root, without any capability; else it runs as an account that owns nothing.
    pub root: bool,
}

impl Needs {
    /// Nothing of the machine: answers from what the program itself knows.
    pub const NOTHING: Self = Self {
        reads: &[],
        reads_as_root: false,
        programs: &[],
        sockets: &[],
        pipes: &[],
        network: Network::None,
        processes: false,
        scratch_file: false,
        root: false,
    };

    /// The kernel's own tables; the default.
    pub const KERNEL: Self = Self::NOTHING.reading(&["/proc", "/sys"]);

    /// systemd's manager through its program, as whoever runs the operation.
    pub const SYSTEMCTL: Self = Self::KERNEL
        .reading(&[
            "/proc",
            "/sys",
            "/etc/systemd",
            "/run/systemd",
            "/usr/lib",
            "/lib",
            "/lib64",
            "/etc/ld.so.cache",
        ])
        .running(&["/usr/bin/systemctl", "/bin/systemctl"])
        .talking_to(&["/run/systemd/private", "/run/dbus/system_bus_socket"]);

    /// The same needs, with these paths to read instead of those before.
    #[must_use]
    pub const fn reading(mut self, paths: &'static [&'static str]) -> Self {
        self.reads = paths;
        self
    }

    /// The same needs; what it reads may belong to root alone.
    #[must_use]
    pub const fn reading_as_root(mut self) -> Self {
        self.reads_as_root = true;
        self
    }

    /// The same needs, with programs that it may start.
    #[must_use]
    pub const fn running(mut self, programs: &'static [&'static str]) -> Self {
        self.programs = programs;
        self
    }

    /// The same needs, with services' sockets that it may connect to.
    #[must_use]
    pub const fn talking_to(mut self, sockets: &'static [&'static str]) -> Self {
        self.sockets = sockets;
        self
    }

    /// The same needs, with services' pipes that it may write to.
    #[must_use]
    pub const fn through_pipes(mut self, pipes: &'static [&'static str]) -> Self {
        self.pipes = pipes;
        self
    }

    /// The same needs, with this use of the network.
    #[must_use]
    pub const fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// The same needs, with a table of the processes.
    #[must_use]
    pub const fn facts_about_processes(mut self) -> Self {
        self.processes = true;
        self
    }

    /// The same needs, with one open file on the state disk.
    #[must_use]
    pub const fn with_scratch_file(mut self) -> Self {
        self.scratch_file = true;
        self
    }

    /// The same needs, as root without capabilities.
    #[must_use]
    pub const fn as_root(mut self) -> Self {
        self.root = true;
        self
    }

    /// What these needs hold that the declared effects do not; `None` if they agree.
    #[must_use]
    pub fn beyond(&self, effects: Effects) -> Option<&'static str> {
        if matches!(self.network, Network::Connect(_)) && !effects.has(Effect::Network) {
            return Some("it connects without the effect network");
        }
        if self.root && !effects.changes_state() && self.pipes.is_empty() {
            return Some("it runs as root and changes nothing");
        }
        let paths = [self.reads, self.programs, self.sockets, self.pipes].into_iter().flatten();
        let relative = |path: &&&str| !path.starts_with('/') || path.split('/').any(|part| part == "..");
        if paths.into_iter().any(|path| relative(&path)) {
            return Some("a path is not absolute");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec21_needs_beyond_the_effects_are_found() {
        let reads = Effects::of(&[Effect::Reads]);
        let services = Effects::of(&[Effect::Reads, Effect::Services]);
        let network = Effects::of(&[Effect::Network]);
        let connects = Needs::NOTHING.network(Network::Connect(&[443]));
        assert!(connects.beyond(reads).is_some());
        assert_eq!(connects.beyond(network), None);
        assert!(Needs::KERNEL.as_root().beyond(reads).is_some());
        assert_eq!(Needs::KERNEL.as_root().beyond(services), None);
        for path in ["etc/passwd", "/etc/../root", "../x"] {
            let paths: &'static [&'static str] = Box::leak(Box::new([path]));
            assert!(Needs::NOTHING.reading(paths).beyond(reads).is_some(), "{path}");
            assert!(Needs::NOTHING.running(paths).beyond(reads).is_some(), "{path}");
        }
    }
}
