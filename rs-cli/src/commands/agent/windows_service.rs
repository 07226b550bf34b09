//! `agent service install|remove|run`: the agent under the service manager of Windows.
//!
//! The service runs as LocalSystem, since the published commands are an administrator's, without the privileges that none of
//! them needs. It starts by itself after the machine's own services, and again after a failure; what it tells stands in
//! `node\agent.log` and, for events, in the event log.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Subcommand;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceSidType, ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::ServeArgs;
use crate::context::{COLUMNS_DEFAULT, Console, Context};
use crate::log_file::LogFile;
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output::Record;
use crate::state::Role;
use crate::{event_log, logging, platform, service};

/// Name of the log file in the node's folder.
pub const LOG_NAME: &str = "agent.log";
/// How it is shown in the list of services.
const DISPLAY_NAME: &str = "Remote support agent";
const DESCRIPTION: &str = "Lets support engineers in while a consent of this machine's owner is in force, and keeps a record of \
     what they do. Without a consent it is connected to nothing.";
/// Pauses before it is started again after its first, second and later failures.
const RESTARTS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];
/// Without a failure for so long, the next is a first one again.
const FAILURES_FORGOTTEN: Duration = Duration::from_secs(600);
/// All privileges that the service's processes have; LocalSystem would have some 30.
const PRIVILEGES: &[&str] = &["SeChangeNotifyPrivilege", "SeCreateGlobalPrivilege", "SeImpersonatePrivilege"];
/// Pause between two looks at a service that stops.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// What the service manager says.
const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_SERVICE_DOES_NOT_EXIST: i32 = 1060;
const ERROR_SERVICE_NOT_ACTIVE: i32 = 1062;
const ERROR_SERVICE_EXISTS: i32 = 1073;

/// What to do with the service.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Install the agent as a service of this machine, and start it: now, and from now on with the machine.
    Install(ServeArgs),
    /// Stop the service, ending its sessions in good order, and remove it. Consents and records stay.
    Remove,
    /// Run as the service; only the service manager can.
    #[command(hide = true)]
    Run(ServeArgs),
}

/// Runs a service command.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] where the service is there already, or `run` is used by hand; [`ErrorCode::NotFound`] where there
/// is none to remove; [`ErrorCode::UnsafePermissions`] where others could replace the program; [`ErrorCode::Io`] where the
/// service manager refuses.
pub fn run(command: &ServiceCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        ServiceCommand::Install(args) => install(args, context),
        ServiceCommand::Remove => remove(context),
        ServiceCommand::Run(args) => serve(args.clone(), context),
    }
}

fn install(args: &ServeArgs, context: &mut Context) -> Result<Outcome, Failure> {
    // What is wrong with the options is said now, not to a log later.
    args.run.relay(context)?;
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(ErrorCode::Internal, "the program cannot find itself").because(error)
    })?;
    not_replaceable(&program)?;
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let launch_arguments = launch_words(args, context)?;
    context.state.role(Role::Node).ensure()?;
    let info = ServiceInfo {
        name: service::NAME.into(),
        display_name: DISPLAY_NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.clone(),
        launch_arguments,
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START | ServiceAccess::QUERY_CONFIG;
    let made = manager.create_service(&info, access).map_err(|error| match code_of(&error) {
        Some(ERROR_SERVICE_EXISTS) => {
            Failure::new(ErrorCode::InvalidValue, "the service is installed already")
                .about(service::NAME)
                .next_step("to install it anew, first run `remote-support agent service remove`")
        }
        _ => refused("the service cannot be installed", error),
    })?;
    for (what, set) in settings(&made) {
        if let Err(error) = set {
            context.note(format!("This system did not take the service's {what}: {error}"));
        }
    }
    event_log::install(&program, context)?;
    made.start::<&OsStr>(&[]).map_err(|error| {
        refused("the service is installed, but does not start", error)
            .next_step(format!("see {}", log_path(context).display()))
    })?;
    let config = made.query_config().map_err(|error| refused("the service cannot be looked at", error))?;
    let record = Record::new()
        .field("Service", service::NAME)
        .field("Command", config.executable_path.display().to_string())
        .field("Account", config.account_name.map(|name| name.to_string_lossy().into_owned()))
        .field("Log", log_path(context).display().to_string());
    context.print_one(&record)?;
    context
        .note("The service starts, now and with the machine. Without a consent it is connected to nothing.");
    Ok(Outcome::Done)
}

/// What a service has besides its program, each by name and how the setting of it went. A service that lacks one is better than
/// none, so it is said and not a failure.
fn settings(made: &Service) -> Vec<(&'static str, Result<(), String>)> {
    let restart = |delay: &Duration| ServiceAction { action_type: ServiceActionType::Restart, delay: *delay };
    let failures = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FAILURES_FORGOTTEN),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.iter().map(restart).collect()),
    };
    let said = |set: windows_service::Result<()>| set.map_err(|error| said(&error));
    vec![
        ("description", said(made.set_description(DESCRIPTION))),
        ("delayed start", said(made.set_delayed_auto_start(true))),
        ("restart after a crash", said(made.update_failure_actions(failures))),
        ("restart after a failure", said(made.set_failure_actions_on_non_crash_failures(true))),
        ("time to stop before the machine does", said(made.set_preshutdown_timeout(service::STOP_WAIT))),
        ("own name in access lists", said(made.set_config_service_sid_info(ServiceSidType::Unrestricted))),
        (
            "list of privileges",
            platform::set_required_privileges(made, PRIVILEGES).map_err(|error| error.to_string()),
        ),
    ]
}

fn remove(context: &mut Context) -> Result<Outcome, Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE;
    let service = manager.open_service(service::NAME, access).map_err(|error| match code_of(&error) {
        Some(ERROR_SERVICE_DOES_NOT_EXIST) => {
            Failure::new(ErrorCode::NotFound, "the service is not installed").about(service::NAME)
        }
        _ => refused("the service cannot be opened", error),
    })?;
    match service.stop() {
        Err(error) if code_of(&error) == Some(ERROR_SERVICE_NOT_ACTIVE) => {}
        Err(error) => return Err(refused("the service does not stop", error)),
        Ok(_) => wait_until_stopped(&service)?,
    }
    service.delete().map_err(|error| refused("the service cannot be removed", error))?;
    event_log::remove(context)?;
    context.note(format!(
        "The service is stopped and removed. Consents and records stay in {}.",
        context.state.root().display()
    ));
    Ok(Outcome::Done)
}

fn wait_until_stopped(service: &Service) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        let status =
            service.query_status().map_err(|error| refused("the service cannot be looked at", error))?;
        if status.current_state == ServiceState::Stopped {
            return Ok(());
        }
        if since.elapsed() > service::STOP_WAIT {
            return Err(Failure::new(ErrorCode::Io, "the service does not stop in time")
                .about(service::NAME)
                .next_step("end its process, then run the command again"));
        }
        // The service manager says where a service stands to those who ask.
        std::thread::sleep(LOOK_PAUSE);
    }
}

/// The service itself: the agent, with a log file where others have a terminal.
fn serve(args: ServeArgs, context: &Context) -> Result<Outcome, Failure> {
    let (state, storage, clock) = (context.state.clone(), context.storage.clone(), context.clock.clone());
    let output = context.output;
    let work = move || {
        let opened = state
            .role(Role::Node)
            .ensure()
            .and_then(|()| LogFile::open(&state.role(Role::Node).file(LOG_NAME)));
        // A place where nothing can be told is one where nothing can be recorded.
        let Ok(mut log) = opened else { return Exit::Failed };
        logging::to_file(log.clone());
        let console = Console {
            input: Box::new(io::empty()),
            out: Box::new(io::sink()),
            err: Box::new(log.clone()),
            interactive: false,
            columns: COLUMNS_DEFAULT,
            live: false,
            color: false,
            full_screen: false,
        };
        match super::serve(&args, &mut Context { state, storage, output, clock, console }) {
            Ok(outcome) => outcome.exit(),
            Err(failure) => {
                // Where the log cannot be written, the exit code is all that is left to tell.
                let _ = io::Write::write_all(
                    &mut log,
                    format!("error[{}]: {failure}\n", failure.code()).as_bytes(),
                );
                failure.exit()
            }
        }
    };
    service::run(work).map(Outcome::Exit)
}

fn log_path(context: &Context) -> PathBuf {
    context.state.role(Role::Node).file(LOG_NAME)
}

/// The words with which the manager starts the program: every setting of this installation, with whole paths.
fn launch_words(args: &ServeArgs, context: &Context) -> Result<Vec<OsString>, Failure> {
    let (storage, run) = (&context.storage, &args.run);
    if storage.passphrase_file.as_deref() == Some(Path::new("-")) {
        return Err(Failure::new(ErrorCode::InvalidValue, "a service has no standard input")
            .about("--storage-passphrase-file")
            .next_step("name a file"));
    }
    let mut words = ["agent", "service", "run"].map(OsString::from).to_vec();
    for (option, path) in [
        ("--state-dir", Some(context.state.root())),
        ("--storage-key-file", storage.key_file.as_deref()),
        ("--storage-passphrase-file", storage.passphrase_file.as_deref()),
        ("--relay-credential-file", run.relay_credential_file.as_deref()),
        ("--relay-ca", run.relay_ca.as_deref()),
        ("--proxy-credentials-file", run.proxy.proxy_credentials_file.as_deref()),
    ] {
        let Some(path) = path else { continue };
        let path = std::path::absolute(path).map_err(|error| Failure::io(path, "find the file", error))?;
        words.extend([option.into(), path.into_os_string()]);
    }
    if let Some(proxy) = &run.proxy.proxy {
        words.extend(["--proxy".into(), proxy.into()]);
    }
    if let Some(console) = args.console {
        words.push(format!("--console={console}").into());
    }
    Ok(words)
}

/// Whoever can replace the program, or put a library beside it, is LocalSystem at the next start.
fn not_replaceable(program: &Path) -> Result<(), Failure> {
    let places = [Some(program), program.parent()];
    places.into_iter().flatten().try_for_each(|place| {
        platform::check_not_writable_by_others(place).map_err(|failure| {
            failure.next_step(r"copy the program to a folder of its own in C:\Program Files and run it there")
        })
    })
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&OsStr>, access)
        .map_err(|error| refused("the service manager cannot be used", error))
}

fn refused(what: &str, error: windows_service::Error) -> Failure {
    let failure = Failure::new(ErrorCode::Io, what).about(service::NAME);
    if code_of(&error) == Some(ERROR_ACCESS_DENIED) {
        return failure
            .because(io::Error::from_raw_os_error(ERROR_ACCESS_DENIED))
            .next_step("run the command as an administrator");
    }
    failure.because(io::Error::other(said(&error)))
}

fn code_of(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(cause) => cause.raw_os_error(),
        _ => None,
    }
}

/// The library says what it was about to do; the cause says why it failed.
fn said(error: &windows_service::Error) -> String {
    match error {
        windows_service::Error::Winapi(cause) => cause.to_string(),
        other => other.to_string(),
    }
}
