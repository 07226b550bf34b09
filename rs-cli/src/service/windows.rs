//! The service manager of Windows: it starts the program as a service, is told how the service gets on, and orders it to
//! stop.
//!
//! An order to stop does what Ctrl-C and SIGTERM do elsewhere: the gate is shut, sessions are ended with their end on record,
//! and then the process goes.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use crate::outcome::{ErrorCode, Exit, Failure};

/// The service's name, by which the service manager knows it.
pub(crate) const NAME: &str = "RemoteSupportAgent";

/// Longest start, which takes up the records of all sessions that were cut off.
const START_WAIT: Duration = Duration::from_secs(120);
/// Longest stop, also when the machine goes down: sessions are ended in good order.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(20);

/// What the manager says where the process was not started by it.
const ERROR_FAILED_SERVICE_CONTROLLER_CONNECT: i32 = 1063;

type Work = Box<dyn FnOnce() -> Exit + Send>;

/// What the service does, and how it ended. The manager calls back with nothing but a number, so both stand here.
static WORK: Mutex<Option<Work>> = Mutex::new(None);
static ENDED: Mutex<Option<Exit>> = Mutex::new(None);
/// Where the manager is told; empty in a process that is no service.
static MANAGER: OnceLock<ServiceStatusHandle> = OnceLock::new();
/// Number of what was told of a start or a stop; each has to be higher than the one before.
static CHECKPOINT: AtomicU32 = AtomicU32::new(1);
static STOP: Notify = Notify::const_new();

define_windows_service!(entry, main);

/// Does `work` as the service, and returns how it ended.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] where the service manager has not started this process.
pub(crate) fn run(work: impl FnOnce() -> Exit + Send + 'static) -> Result<Exit, Failure> {
    *lock(&WORK) = Some(Box::new(work));
    service_dispatcher::start(NAME, entry).map_err(|error| match &error {
        windows_service::Error::Winapi(cause)
            if cause.raw_os_error() == Some(ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) =>
        {
            Failure::new(ErrorCode::InvalidValue, "only the service manager of Windows runs this command")
                .next_step("run `remote-support agent run`, or `remote-support agent service install`")
        }
        _ => Failure::new(ErrorCode::Internal, "the service manager is not reached").because(error),
    })?;
    Ok(lock(&ENDED).take().unwrap_or(Exit::Failed))
}

/// The service, on a thread of the manager's.
fn main(_arguments: Vec<OsString>) {
    let Some(work) = lock(&WORK).take() else { return };
    let Ok(manager) = service_control_handler::register(NAME, control) else { return };
    let _one_service = MANAGER.set(manager);
    tell(ServiceState::StartPending, START_WAIT, ServiceExitCode::NO_ERROR);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(Exit::Failed);
    *lock(&ENDED) = Some(ended);
    // Any other end than a good one is a failure, after which the manager starts the service again.
    let code = match ended {
        Exit::Done => ServiceExitCode::NO_ERROR,
        other => ServiceExitCode::ServiceSpecific(other as u32),
    };
    tell(ServiceState::Stopped, Duration::ZERO, code);
}

fn control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Preshutdown => {
            // Before this returns: the manager sends no second order to a service that says that it is stopping, and the
            // handler could not take one.
            stopping();
            STOP.notify_one();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

/// Returns when the manager orders the service to stop. An order that came before is not lost.
pub(crate) async fn told_to_stop() {
    STOP.notified().await;
}

/// The agent takes calls now.
pub(crate) fn ready(_status: &str) {
    tell(ServiceState::Running, Duration::ZERO, ServiceExitCode::NO_ERROR);
}

/// The agent ends its sessions and goes.
pub(crate) fn stopping() {
    tell(ServiceState::StopPending, STOP_WAIT, ServiceExitCode::NO_ERROR);
}

/// The manager of Windows asks for no signs of life.
pub(crate) async fn watchdog(_lives: impl Fn()) {
    std::future::pending().await
}

/// Orders are taken while it runs only: a start is short, and a stop is one.
fn tell(state: ServiceState, wait: Duration, exit_code: ServiceExitCode) {
    let Some(manager) = MANAGER.get() else { return };
    let pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
    let controls_accepted = match state {
        ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
        _ => ServiceControlAccept::empty(),
    };
    let told = manager.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted,
        exit_code,
        checkpoint: if pending { CHECKPOINT.fetch_add(1, Ordering::Relaxed) } else { 0 },
        wait_hint: wait,
        process_id: None,
    });
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
