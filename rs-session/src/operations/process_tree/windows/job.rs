//! The job object itself: the few calls of the Windows API for it that no safe library covers whole.
//!
//! Every call gets pointers to values of this function's own that live until it returns, and handles that this module
//! opened and owns.

#![expect(unsafe_code, reason = "the Windows API is not otherwise reachable; each call says why it is sound")]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, IsProcessInJob, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_JOB_TIME,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_UILIMIT_DESKTOP, JOB_OBJECT_UILIMIT_DISPLAYSETTINGS,
    JOB_OBJECT_UILIMIT_EXITWINDOWS, JOB_OBJECT_UILIMIT_GLOBALATOMS, JOB_OBJECT_UILIMIT_READCLIPBOARD,
    JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS, JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_BASIC_UI_RESTRICTIONS,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectBasicAccountingInformation, JobObjectBasicUIRestrictions,
    JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, OpenThread, PROCESS_SET_QUOTA, PROCESS_TERMINATE, ResumeThread,
    THREAD_SUSPEND_RESUME,
};

use super::Bounds;

/// Exit code of processes that are ended with their job.
const ENDED: u32 = 1;
/// Units of a time limit in a second: 100 ns each.
const TICKS_A_SECOND: i64 = 10_000_000;

/// A job object. Dropping it ends every process in it.
#[derive(Debug)]
pub(super) struct Job(OwnedHandle);

impl Job {
    /// A job without a name, whose handle no child inherits, with all its limits. Nothing may break away from it.
    pub(super) fn new(bounds: &Bounds) -> io::Result<Self> {
        // SAFETY: both arguments may be null: default security, no name.
        let job = Self(owned(unsafe { CreateJobObjectW(ptr::null(), ptr::null()) })?);
        job.set(JobObjectExtendedLimitInformation, &limits(bounds))?;
        job.set(JobObjectBasicUIRestrictions, &UI_RESTRICTIONS)?;
        Ok(job)
    }

    /// Puts a process into the job, with everything that it starts from then on.
    pub(super) fn hold(&self, process: u32) -> io::Result<()> {
        // SAFETY: no pointers; the handle that it gives is owned below.
        let process = owned(unsafe { OpenProcess(PROCESS_SET_QUOTA | PROCESS_TERMINATE, 0, process) })?;
        // SAFETY: both handles are open as long as their owners live, which is to the end of this function.
        checked(unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle()) })
    }

    /// How many processes of the job are alive.
    pub(super) fn processes(&self) -> io::Result<u32> {
        let account: JOBOBJECT_BASIC_ACCOUNTING_INFORMATION =
            self.get(JobObjectBasicAccountingInformation)?;
        Ok(account.ActiveProcesses)
    }

    /// Ends every process of the job.
    pub(super) fn terminate(&self) -> io::Result<()> {
        // SAFETY: the handle is open as long as `self` lives.
        checked(unsafe { TerminateJobObject(self.0.as_raw_handle(), ENDED) })
    }

    /// What Windows says of the limits.
    #[cfg(test)]
    pub(super) fn limits(&self) -> io::Result<JOBOBJECT_EXTENDED_LIMIT_INFORMATION> {
        self.get(JobObjectExtendedLimitInformation)
    }

    fn set<T: Plain>(&self, class: i32, value: &T) -> io::Result<()> {
        let value: *const T = value;
        // SAFETY: the pointer is that of a whole `T`, which is the structure of this class, with its size.
        checked(unsafe {
            SetInformationJobObject(self.0.as_raw_handle(), class, value.cast(), size_of_u32::<T>())
        })
    }

    fn get<T: Plain>(&self, class: i32) -> io::Result<T> {
        let mut value = T::default();
        let into: *mut c_void = (&raw mut value).cast();
        // SAFETY: the call writes at most the given size, that of `T`, of which any bytes are a value.
        checked(unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                class,
                into,
                size_of_u32::<T>(),
                ptr::null_mut(),
            )
        })?;
        Ok(value)
    }
}

/// Structures of numbers alone: any bytes are a value.
trait Plain: Default {}
impl Plain for JOBOBJECT_BASIC_ACCOUNTING_INFORMATION {}
impl Plain for JOBOBJECT_BASIC_UI_RESTRICTIONS {}
impl Plain for JOBOBJECT_EXTENDED_LIMIT_INFORMATION {}

/// What the processes may not do to the desktop and the session they are in. (Handles of windows are left: .NET uses
/// those of others.)
const UI_RESTRICTIONS: JOBOBJECT_BASIC_UI_RESTRICTIONS = JOBOBJECT_BASIC_UI_RESTRICTIONS {
    UIRestrictionsClass: JOB_OBJECT_UILIMIT_DESKTOP
        | JOB_OBJECT_UILIMIT_DISPLAYSETTINGS
        | JOB_OBJECT_UILIMIT_EXITWINDOWS
        | JOB_OBJECT_UILIMIT_GLOBALATOMS
        | JOB_OBJECT_UILIMIT_READCLIPBOARD
        | JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS
        | JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
};

fn limits(bounds: &Bounds) -> JOBOBJECT_EXTENDED_LIMIT_INFORMATION {
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    let basic = &mut limits.BasicLimitInformation;
    // Neither of the two flags that permit to break away.
    basic.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
        | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
        | JOB_OBJECT_LIMIT_ACTIVE_PROCESS
        | JOB_OBJECT_LIMIT_JOB_MEMORY;
    basic.ActiveProcessLimit = bounds.processes;
    if let Some(seconds) = bounds.cpu_seconds {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_JOB_TIME;
        basic.PerJobUserTimeLimit = i64::from(seconds) * TICKS_A_SECOND;
    }
    limits.JobMemoryLimit = usize::try_from(bounds.memory_bytes).unwrap_or(usize::MAX);
    limits
}

/// Lets the threads of a process run that was started suspended.
///
/// The standard library does not give the handle of the first thread, so it is looked up. The caller holds the process,
/// so its number means no other.
pub(super) fn resume(process: u32) -> io::Result<()> {
    // SAFETY: no pointers; the handle that it gives is owned below.
    let snapshot = owned(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) })?;
    let mut entry = THREADENTRY32 { dwSize: size_of_u32::<THREADENTRY32>(), ..THREADENTRY32::default() };
    let mut resumed = 0;
    // SAFETY: the entry lives through the call and says its own size; it holds numbers alone.
    let mut more = unsafe { Thread32First(snapshot.as_raw_handle(), &raw mut entry) } != 0;
    while more {
        if entry.th32OwnerProcessID == process {
            // SAFETY: no pointers; the handle that it gives is owned.
            let thread = owned(unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, entry.th32ThreadID) })?;
            // SAFETY: the handle is open to the end of this block.
            if unsafe { ResumeThread(thread.as_raw_handle()) } == u32::MAX {
                return Err(io::Error::last_os_error());
            }
            resumed += 1;
        }
        // SAFETY: as for the first.
        more = unsafe { Thread32Next(snapshot.as_raw_handle(), &raw mut entry) } != 0;
    }
    if resumed == 0 {
        return Err(io::Error::other("the process has no thread that could be resumed"));
    }
    Ok(())
}

/// True if this process is in a job.
pub(super) fn is_this_process_in_one() -> io::Result<bool> {
    let mut is_in = 0;
    // SAFETY: the handle of the own process is always valid, none stands for any job, and the result is written to a
    // number that lives through the call.
    checked(unsafe { IsProcessInJob(GetCurrentProcess(), ptr::null_mut(), &raw mut is_in) })?;
    Ok(is_in != 0)
}

/// A handle that was just given, or why none was.
fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened by the call before and is nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn checked(succeeded: i32) -> io::Result<()> {
    if succeeded == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Size of a structure as the Windows API takes it; the largest here has some hundred bytes.
fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or_default()
}
