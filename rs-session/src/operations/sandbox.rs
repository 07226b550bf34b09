//! What holds a worker in from outside: set up before it does anything, or it does nothing.
//!
//! Applied today on Linux: no new privileges, resource limits (processor time, address space, open files, file size,
//! no core dump), a clean environment, death together with its supervisor. File and network rules by declared effects
//! belong here too; [`Applied`] says what is in force, so that a record never claims more.

use super::plan::Limits;

/// Largest file that a worker may write, in bytes: room for a measurement, not for a store.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Measures that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Their names, in the order they were applied.
    pub measures: Vec<&'static str>,
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

/// One step of the set-up: its name and what it does.
type Measure = (&'static str, fn(&Limits) -> Result<(), String>);

/// Applies every measure to this process. It must have one thread only, as some measures bind to the thread.
///
/// # Errors
/// [`SandboxError`] with the first measure that failed; the caller must not go on.
pub fn apply(limits: &Limits) -> Result<Applied, SandboxError> {
    apply_all(platform::MEASURES, limits)
}

fn apply_all(measures: &[Measure], limits: &Limits) -> Result<Applied, SandboxError> {
    let mut applied = Applied::default();
    for (measure, set_up) in measures {
        set_up(limits).map_err(|why| SandboxError { measure, why })?;
        applied.measures.push(measure);
    }
    Ok(applied)
}

#[cfg(target_os = "linux")]
mod platform {
    use rustix::process::{Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit};
    use rustix::thread::set_no_new_privs;

    use super::{FILE_BYTES_MAX, Limits, Measure};
    use crate::operations::worker::SUPERVISOR;

    pub(super) const MEASURES: &[Measure] = &[
        ("dies-with-supervisor", dies_with_supervisor),
        ("no-new-privileges", |_| set_no_new_privs(true).map_err(text)),
        ("clean-environment", clean_environment),
        ("limit-core", |_| limit(Resource::Core, 0)),
        ("limit-cpu", |limits| limit(Resource::Cpu, u64::from(limits.cpu_seconds))),
        ("limit-files", |limits| limit(Resource::Nofile, u64::from(limits.files))),
        ("limit-file-size", |_| limit(Resource::Fsize, FILE_BYTES_MAX)),
        ("limit-memory", |limits| limit(Resource::As, limits.memory_bytes)),
    ];

    fn text(error: rustix::io::Errno) -> String {
        error.to_string()
    }

    fn limit(resource: Resource, value: u64) -> Result<(), String> {
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) }).map_err(text)
    }

    /// The signal first, then the look: a supervisor that died in between is noticed.
    fn dies_with_supervisor(_: &Limits) -> Result<(), String> {
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(text)?;
        let expected = std::env::var(SUPERVISOR).ok().and_then(|pid| pid.parse::<i32>().ok());
        let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
        if expected.is_some() && expected == parent {
            Ok(())
        } else {
            Err(String::from("the supervisor is gone"))
        }
    }

    fn clean_environment(_: &Limits) -> Result<(), String> {
        let permitted = |name: &str| crate::operations::worker::ENVIRONMENT.contains(&name);
        let stranger = std::env::vars_os().find(|(name, _)| !name.to_str().is_some_and(permitted));
        stranger.map_or(Ok(()), |(name, _)| Err(format!("unexpected variable {}", name.to_string_lossy())))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::Measure;

    pub(super) const MEASURES: &[Measure] = &[];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec23_a_failing_measure_stops_the_set_up_and_is_named() {
        let fine: Measure = ("fine", |_| Ok(()));
        let broken: Measure = ("broken", |_| Err(String::from("no")));
        for position in 0..3 {
            let mut measures = vec![fine; 3];
            measures[position] = broken;
            let error = apply_all(&measures, &Limits::default()).unwrap_err();
            assert_eq!(error.measure, "broken");
        }
        assert_eq!(apply_all(&[fine], &Limits::default()).unwrap().measures, ["fine"]);
    }
}
