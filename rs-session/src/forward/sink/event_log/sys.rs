//! The calls of the Windows API for the event log and for the registration of a source.

#![expect(unsafe_code, reason = "the Windows API is not otherwise reachable; each call says why it is sound")]

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS, HANDLE};
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, KEY_SET_VALUE, REG_DWORD, REG_OPTION_NON_VOLATILE, REG_SZ, RegCloseKey,
    RegCreateKeyExW, RegDeleteTreeW, RegSetValueExW,
};

/// Where the sources of the Application log are registered.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// How an entry is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Information,
    Warning,
    Error,
}

/// A source that is open for writing.
#[derive(Debug)]
pub(super) struct Log(HANDLE);

impl Log {
    pub(super) fn open(source: &str) -> io::Result<Self> {
        let source = zero_ended(OsStr::new(source))?;
        // SAFETY: the name ends with a zero; no server is this machine.
        let log = unsafe { RegisterEventSourceW(ptr::null(), source.as_ptr()) };
        if log.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(log)) }
    }

    /// Writes one entry; the strings hold no zeros.
    pub(super) fn report(&self, class: Class, number: u32, strings: &[Vec<u16>; 2]) -> io::Result<()> {
        let class = match class {
            Class::Information => EVENTLOG_INFORMATION_TYPE,
            Class::Warning => EVENTLOG_WARNING_TYPE,
            Class::Error => EVENTLOG_ERROR_TYPE,
        };
        let strings = strings.each_ref().map(|string| [string.as_slice(), &[0]].concat());
        let pointers = strings.each_ref().map(|string| string.as_ptr());
        // SAFETY: the handle is open; both strings end with a zero and outlive the call; there is no account and no data.
        let written = unsafe {
            ReportEventW(self.0, class, 0, number, ptr::null_mut(), 2, 0, pointers.as_ptr(), ptr::null())
        };
        if written == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // SAFETY: it was opened by `open` and is nobody else's. Entries are written already.
        unsafe { DeregisterEventSource(self.0) };
    }
}

pub(super) fn register(source: &str, program: &Path) -> io::Result<()> {
    let key = Key::create(&format!(r"{SOURCES}\{source}"))?;
    let program = zero_ended(program.as_os_str())?;
    let program: Vec<u8> = program.into_iter().flat_map(u16::to_le_bytes).collect();
    key.set("EventMessageFile", REG_SZ, &program)?;
    let classes = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    key.set("TypesSupported", REG_DWORD, &u32::from(classes).to_le_bytes())
}

pub(super) fn remove(source: &str) -> io::Result<()> {
    let path = zero_ended(OsStr::new(&format!(r"{SOURCES}\{source}")))?;
    // SAFETY: the root is a constant; the path ends with a zero.
    match unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, path.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        code => checked(code),
    }
}

/// A key of the registry, open for writing.
struct Key(HKEY);

impl Key {
    fn create(path: &str) -> io::Result<Self> {
        let (path, mut key) = (zero_ended(OsStr::new(path))?, ptr::null_mut());
        // SAFETY: the root is a constant; the path ends with a zero; the key goes into a pointer of ours, and what may be null is.
        checked(unsafe {
            RegCreateKeyExW(
                HKEY_LOCAL_MACHINE,
                path.as_ptr(),
                0,
                ptr::null(),
                REG_OPTION_NON_VOLATILE,
                KEY_SET_VALUE,
                ptr::null(),
                &raw mut key,
                ptr::null_mut(),
            )
        })?;
        Ok(Self(key))
    }

    fn set(&self, name: &str, kind: u32, value: &[u8]) -> io::Result<()> {
        let name = zero_ended(OsStr::new(name))?;
        let size = u32::try_from(value.len()).map_err(io::Error::other)?;
        // SAFETY: the key is open; the name ends with a zero; the value has the given size.
        checked(unsafe { RegSetValueExW(self.0, name.as_ptr(), 0, kind, value.as_ptr(), size) })
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: it was opened by `create` and is nobody else's.
        unsafe { RegCloseKey(self.0) };
    }
}

fn checked(code: u32) -> io::Result<()> {
    if code == ERROR_SUCCESS {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(i32::try_from(code).unwrap_or(i32::MAX)))
}

fn zero_ended(text: &OsStr) -> io::Result<Vec<u16>> {
    let mut units: Vec<u16> = text.encode_wide().collect();
    if units.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    units.push(0);
    Ok(units)
}
