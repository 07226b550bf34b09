//! What holds an operation in from outside: everything is set up before it does anything, or it does nothing.
//!
//! [`Confinement::of`] derives from a plan what its command declared in the catalog ([`Needs`]), and [`apply`] sets the
//! measures up in the worker, one after the other. [`Applied`] names those in force, so that a record never claims
//! more. The measures are the platform's. On Windows they are `clean-environment` and `job-object`: the worker is in a job
//! object, made by whoever started it, that bounds memory, processor time and number of processes (one, where no programs
//! are declared), that nothing can break away from, and whose end is the end of everything in it. Files and network are
//! not restricted there. On Linux they are
//!
//! | measure | holds back | only as root |
//! | --- | --- | --- |
//! | `clean-environment` | variables that nobody meant for it | |
//! | `pid-namespace` | seeing, signalling and outliving others: all processes end with the first | yes |
//! | `limit-*` | core files, processor time, files, file size, memory | |
//! | `limit-processes` | processes and threads, for an operation with a user of its own | yes |
//! | `network-namespace` | the network, unless it was declared | yes |
//! | `ipc-namespace` | shared memory and queues of others, host name | yes |
//! | `mount-namespace` | services' sockets that were not declared, where it talks to services | |
//! | `no-new-privileges` | setuid programs and file capabilities | |
//! | `user` | what belongs to anybody; every capability | yes |
//! | `file-rules` | reading, writing, executing what was not declared; ptrace (Landlock) | |
//! | `dies-with-supervisor` | outliving the agent | |
//! | `system-calls` | what is left of the kernel: sockets, programs, mounts, keys, modules, … (seccomp) | |
//!
//! The kernel does not count the processes of root, nor those of one operation where several run as one user. There the
//! supervisor counts them, twenty times a second, and ends an operation that has more than its limit.
//!
//! An agent that is not root sets up `mount-namespace` in a namespace of users (`-of-own-users`); where the system permits
//! none, an operation that talks to services does not run.
//!
//! A kernel must know Landlock (Linux 5.13) and seccomp; what newer ones add to Landlock (TCP ports, scopes of signals and
//! of abstract sockets) is in force where there is support, and the name of the measure says which version that is. That a
//! file is emptied, of which Landlock knows from its third version on, the filter of system calls holds back too.

use super::catalog::Needs;
use super::plan::{Limits, Plan};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use self::linux as platform;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use self::windows as platform;
#[cfg(not(any(target_os = "linux", windows)))]
mod other;
#[cfg(not(any(target_os = "linux", windows)))]
use self::other as platform;

/// Largest file that a worker may write, in bytes: room for a measurement, not for a store.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Measures that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Their names, in the order they were applied.
    pub measures: Vec<String>,
}

/// A measure that could not be applied: the operation does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox could not be set up ({measure}: {why}); the operation was not started")]
pub struct SandboxError {
    /// Which measure.
    pub measure: &'static str,
    /// What the operating system said.
    pub why: String,
}

/// What one operation is held to.
#[derive(Clone, Copy, Debug)]
pub struct Confinement {
    pub(super) needs: Needs,
    #[cfg_attr(
        windows,
        expect(dead_code, reason = "whoever starts the worker makes its job object from the plan")
    )]
    pub(super) limits: Limits,
    keeps: fn(&str) -> bool,
    fails_at: Option<&'static str>,
}

impl Confinement {
    /// What the catalog declares for the plan's command. A command without definition needs nothing, and gets nothing.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let needs = plan.definition().map_or(Needs::NOTHING, |definition| definition.needs);
        Self { needs, limits: plan.limits, keeps: |_| true, fails_at: None }
    }

    /// The same with other needs: for operations outside the catalog, such as those of tests.
    #[must_use]
    pub const fn with_needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// The same without the measures that `keeps` does not name: the control of a test that shows what a measure does.
    #[must_use]
    pub const fn keeping(mut self, keeps: fn(&str) -> bool) -> Self {
        self.keeps = keeps;
        self
    }

    /// The same with a measure that fails: for tests that show that nothing runs then.
    #[must_use]
    pub const fn failing_at(mut self, measure: &'static str) -> Self {
        self.fails_at = Some(measure);
        self
    }

    /// True if a measure is to be set up on this machine by this user.
    #[must_use]
    pub fn has(&self, measure: &str) -> bool {
        platform::MEASURES.iter().any(|own| own.name == measure && own.is_set_up_for(self))
    }

    /// True unless this confinement goes without a measure, as the control of a test does.
    #[cfg(unix)]
    pub(super) fn keeps(&self, measure: &str) -> bool {
        (self.keeps)(measure)
    }

    /// Names of the measures that would hold this operation in if the agent ran as root, and do not as it does not.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let missing = |own: &&Measure| (own.applies)(self) && own.needs_root && !platform::is_root();
        platform::MEASURES.iter().filter(missing).map(|own| own.name)
    }
}

/// One step of the set-up.
struct Measure {
    name: &'static str,
    /// Whether only root can set it up.
    needs_root: bool,
    /// Whether it belongs to a confinement.
    applies: fn(&Confinement) -> bool,
    /// Sets it up; what it gives is added to the name on record.
    set_up: fn(&Confinement) -> Result<String, String>,
}

impl Measure {
    fn is_set_up_for(&self, confinement: &Confinement) -> bool {
        let can = !self.needs_root || platform::is_root();
        can && (self.applies)(confinement) && (confinement.keeps)(self.name)
    }
}

/// Applies every measure to this process. It must have one thread only, as some measures bind to the thread.
///
/// # Errors
/// [`SandboxError`] with the first measure that failed; the caller must not go on.
pub fn apply(confinement: &Confinement) -> Result<Applied, SandboxError> {
    apply_all(platform::MEASURES, confinement)
}

/// What the supervisor does before it starts the worker; the worker's own set-up checks that it is in force.
#[cfg(unix)]
pub(super) fn prepare_supervisor(confinement: &Confinement) -> Result<(), SandboxError> {
    platform::prepare_supervisor(confinement)
}

/// Names of all measures of this platform, in their order.
pub fn measures() -> impl Iterator<Item = &'static str> {
    platform::MEASURES.iter().map(|measure| measure.name)
}

/// Checks that no variable came along that nobody meant for the worker. (Wine, which runs Windows programs elsewhere,
/// gives each process variables of its own, whatever its starter says.)
#[cfg(any(target_os = "linux", windows))]
fn clean_environment(_: &Confinement) -> Result<String, String> {
    let names = super::worker::ENVIRONMENT;
    let permitted = |name: &str| {
        if cfg!(windows) {
            name.starts_with("WINE") || names.iter().any(|own| own.eq_ignore_ascii_case(name))
        } else {
            names.contains(&name)
        }
    };
    let stranger = std::env::vars_os().find(|(name, _)| !name.to_str().is_some_and(permitted));
    stranger
        .map_or(Ok(String::new()), |(name, _)| Err(format!("unexpected variable {}", name.to_string_lossy())))
}

fn apply_all(measures: &[Measure], confinement: &Confinement) -> Result<Applied, SandboxError> {
    let mut applied = Applied::default();
    for measure in measures {
        if !measure.is_set_up_for(confinement) {
            continue;
        }
        let fails = confinement.fails_at == Some(measure.name);
        let outcome = if fails { Err(String::from("made to fail")) } else { (measure.set_up)(confinement) };
        let more = outcome.map_err(|why| SandboxError { measure: measure.name, why })?;
        applied.measures.push(format!("{}{more}", measure.name));
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::Context;
    use rs_consent::AccessLevel;

    #[test]
    fn sec23_a_failing_measure_stops_the_set_up_and_is_named() {
        const fn measure(name: &'static str, set_up: fn(&Confinement) -> Result<String, String>) -> Measure {
            Measure { name, needs_root: false, applies: |_| true, set_up }
        }
        let plan = Context::new(AccessLevel::Diagnostics).plan_line("Get-Date").unwrap();
        let confinement = Confinement::of(&plan);
        for position in 0..3 {
            let measures: Vec<_> = (0..3)
                .map(|at| {
                    if at == position {
                        measure("broken", |_| Err(String::from("no")))
                    } else {
                        measure("fine", |_| Ok(String::new()))
                    }
                })
                .collect();
            assert_eq!(apply_all(&measures, &confinement).unwrap_err().measure, "broken");
        }
        let numbered = measure("numbered", |_| Ok(String::from("-7")));
        let names = apply_all(&[measure("fine", |_| Ok(String::new())), numbered], &confinement).unwrap();
        assert_eq!(names.measures, ["fine", "numbered-7"]);
    }
}
