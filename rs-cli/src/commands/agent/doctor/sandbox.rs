//! What holds operations in on this machine: a real one is run, and says it.

use rs_consent::AccessLevel;
use rs_session::operations::executor::{Executor as _, Finish, Status, WorkerExecutor};
use rs_session::operations::sandbox::Confinement;
use rs_session::operations::{Context, Plan};

use super::Finding;
use super::check::Check;
use crate::commands::operation_worker;
use crate::network;
use crate::outcome::{ErrorCode, Failure};

const CHECK: Check = Check::Sandbox;
/// What is run: it needs nothing, so it is held in by whatever there is.
const LINE: &str = "Get-Date";
/// What is run besides by who is not root: it talks to services, which takes a namespace of users then.
const SERVICES: &str = "Get-Service";
/// Longest time that it may take, in seconds.
const SECONDS_MAX: u32 = 10;
/// First version of Landlock that knows TCP.
const LANDLOCK_TCP: u8 = 4;
/// First version of Landlock that knows signals and abstract sockets.
const LANDLOCK_SCOPES: u8 = 6;

const SUPPORT: &str = "operations need Linux 5.13 or newer with seccomp, and landlock in /sys/kernel/security/lsm; a container must permit both, \
     and limits as high as those of `operation` in node/policy.json";
const BE_ROOT: &str =
    "run the agent as root: its operations then run as a user who owns nothing, in namespaces of their own";
const OWN_USERS: &str = "run the agent as root, or permit namespaces of users (user.max_user_namespaces, kernel.unprivileged_userns_clone, \
     kernel.apparmor_restrict_unprivileged_userns)";
const NEWER_KERNEL: &str = "use Linux 6.12 or newer";
const FEW_RIGHTS: &str =
    "run the agent as a user with few rights, and give consent only to whom you would give that user";

/// Runs harmless operations as the agent does. It is this user's answer: the agent may run as another one.
pub(super) fn sandbox() -> Finding {
    match probe(LINE).and_then(|found| Ok((found, services()?))) {
        Ok(((plan, finish), services)) => {
            judge(&finish, &Confinement::of(&plan).missing().collect::<Vec<_>>(), services.as_deref())
        }
        Err(failure) => Finding::of(CHECK, &failure, SUPPORT),
    }
}

/// Why operations about services do not run here, if it is that they cannot be held in.
fn services() -> Result<Option<String>, Failure> {
    let (_, finish) = probe(SERVICES)?;
    Ok((finish.status == Status::Sandbox).then_some(finish.message))
}

fn probe(line: &str) -> Result<(Plan, Finish), Failure> {
    let failed = |why: String| {
        Failure::new(ErrorCode::Internal, "no operation can be started").because(std::io::Error::other(why))
    };
    let planned = Context::new(AccessLevel::Diagnostics).plan_line(line);
    let mut plan = planned.map_err(|refused| failed(refused.to_string()))?;
    plan.limits.seconds = SECONDS_MAX;
    let (program, arguments) = operation_worker::program()?;
    let executor = WorkerExecutor::new(program, arguments).map_err(|error| failed(error.to_string()))?;
    let finish = network::block_on(async {
        let mut running = executor.start(plan.clone()).await.map_err(|error| failed(error.to_string()))?;
        while running.next().await.is_some() {}
        Ok::<_, Failure>(running.finish().await)
    })?;
    Ok((plan, finish))
}

fn judge(finish: &Finish, missing: &[&str], no_services: Option<&str>) -> Finding {
    if finish.status != Status::Done {
        let text = format!("no operation runs here: {}", finish.message);
        return Finding::fault(CHECK, crate::outcome::Exit::Failed, text, SUPPORT);
    }
    let measures = &finish.measures;
    if measures.is_empty() {
        let text = "operations run in processes of their own, and nothing else holds them in on this system";
        return Finding::advice(CHECK, text, FEW_RIGHTS);
    }
    let held = format!("{} measures hold operations in: {}", measures.len(), measures.join(", "));
    if let Some(why) = no_services {
        let text = format!("{held}; operations about services do not run: {why}");
        return Finding::advice(CHECK, text, OWN_USERS);
    }
    if !missing.is_empty() {
        let text = format!("{held}; not in force, as this user is not root: {}", missing.join(", "));
        return Finding::advice(CHECK, text, BE_ROOT);
    }
    match measures.iter().find_map(|name| landlock_gap(name)) {
        Some(gap) => Finding::advice(
            CHECK,
            format!("{held}; this kernel's file rules do not cover {gap}"),
            NEWER_KERNEL,
        ),
        None => Finding::well(CHECK, held),
    }
}

/// What an old version of Landlock leaves to the other measures.
fn landlock_gap(measure: &str) -> Option<&'static str> {
    let version: u8 = measure.rsplit_once("-landlock-")?.1.parse().ok()?;
    match version {
        ..LANDLOCK_TCP => Some("ports, signals and abstract sockets"),
        LANDLOCK_TCP..LANDLOCK_SCOPES => Some("signals and abstract sockets"),
        LANDLOCK_SCOPES.. => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::agent::doctor::State;
    use crate::outcome::Exit;

    fn finish(status: Status, measures: &[&str]) -> Finish {
        let measures = measures.iter().map(ToString::to_string).collect();
        Finish { measures, ..Finish::new(status, "why") }
    }

    #[test]
    fn l12_the_sandbox_is_judged_by_what_was_in_force() {
        let of =
            |status, measures: &[&str], missing: &[&str]| judge(&finish(status, measures), missing, None);
        let whole = ["user-65000", "file-rules-landlock-7", "system-calls"];
        assert_eq!(of(Status::Done, &whole, &[]).state, State::Well);
        let fault = of(Status::Sandbox, &[], &[]);
        assert!(fault.state == State::Fault(Exit::Failed) && fault.text.ends_with("why"), "{fault:?}");
        let nothing = of(Status::Done, &[], &[]);
        assert!(nothing.state == State::Advice && nothing.text.contains("nothing else"), "{nothing:?}");
        let some = of(Status::Done, &whole[1..], &["user"]);
        assert!(some.state == State::Advice && some.text.ends_with("not root: user"), "{some:?}");
        let services = judge(&finish(Status::Done, &whole), &["user"], Some("no namespace"));
        assert!(
            services.state == State::Advice && services.text.ends_with("do not run: no namespace"),
            "{services:?}"
        );
        let old = of(Status::Done, &["file-rules-landlock-5"], &[]);
        assert!(old.state == State::Advice && old.text.ends_with("abstract sockets"), "{old:?}");
    }

    #[test]
    fn l12_versions_of_landlock_have_their_borders() {
        let gap = |version: u8| landlock_gap(&format!("file-rules-landlock-{version}")).is_some();
        assert_eq!([gap(3), gap(4), gap(5), gap(6), gap(7)], [true, true, true, false, false]);
        assert_ne!(landlock_gap("x-landlock-3"), landlock_gap("x-landlock-4"));
        assert_eq!(landlock_gap("system-calls"), None);
    }
}
