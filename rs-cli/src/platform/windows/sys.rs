//! The calls of the Windows API that no safe library covers: security descriptors, callers of a pipe, processes.
//!
//! Every call gets pointers to values of this module's own that live until it returns, texts that end with a zero, and
//! handles that are owned here. What Windows allocates is freed where it is read.

#![expect(unsafe_code, reason = "the Windows API is not otherwise reachable; each call says why it is sound")]

use std::ffi::{OsStr, OsString, c_void};
use std::fs::File;
use std::io;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use windows_service::service::Service;
use windows_sys::Win32::Foundation::{GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE, LocalFree, WAIT_OBJECT_0};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertSidToStringSidW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};
use windows_sys::Win32::Security::{
    CheckTokenMembership, CreateWellKnownSid, DACL_SECURITY_INFORMATION, GetTokenInformation,
    LookupAccountSidW, OWNER_SECURITY_INFORMATION, PSID, RevertToSelf, SECURITY_ATTRIBUTES,
    SECURITY_MAX_SID_SIZE, TOKEN_QUERY, TOKEN_USER, TokenUser, WinBuiltinAdministratorsSid,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateDirectoryW, CreateFileW, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, GetDiskFreeSpaceExW,
};
use windows_sys::Win32::System::Pipes::{GetNamedPipeServerProcessId, ImpersonateNamedPipeClient};
use windows_sys::Win32::System::Services::{
    ChangeServiceConfig2W, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, SERVICE_REQUIRED_PRIVILEGES_INFOW,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcess, OpenProcessToken, OpenThreadToken, PROCESS_NAME_WIN32,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, QueryFullProcessImageNameW,
    TerminateProcess, WaitForSingleObject,
};
use zeroize::{Zeroize as _, Zeroizing};

/// Longest text that is taken from Windows, in UTF-16 units.
const TEXT_MAX: usize = 32 * 1024;
/// Exit code of a process that is ended from outside.
const ENDED: u32 = 1;

/// A security descriptor made from its text.
#[derive(Debug)]
pub(super) struct Descriptor(Local);

impl Descriptor {
    pub(super) fn new(text: &str) -> io::Result<Self> {
        let (text, mut made) = (zero_ended(OsStr::new(text))?, ptr::null_mut());
        // SAFETY: the text ends with a zero; the result goes into a pointer of ours; its size is not asked for.
        checked(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut made,
                ptr::null_mut(),
            )
        })?;
        Ok(Self(Local(made)))
    }

    /// Valid as long as `self`.
    fn attributes(&self) -> SECURITY_ATTRIBUTES {
        let length = u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or_default();
        SECURITY_ATTRIBUTES { nLength: length, lpSecurityDescriptor: self.0.0, bInheritHandle: 0 }
    }

    /// Owner and access list in the form in which Windows writes them.
    fn text(&self) -> io::Result<String> {
        let mut text = ptr::null_mut();
        // SAFETY: the descriptor is a valid one as long as `self` lives; the result goes into a pointer of ours.
        checked(unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                self.0.0,
                SDDL_REVISION_1,
                OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                &raw mut text,
                ptr::null_mut(),
            )
        })?;
        Ok(take_text(text))
    }
}

/// Owner and access list of an open file or directory.
pub(super) fn descriptor_of(file: &File) -> io::Result<String> {
    let mut descriptor = ptr::null_mut();
    let what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let none = ptr::null_mut();
    // SAFETY: the handle is open; only the whole descriptor is asked for, into a pointer of ours.
    let code = unsafe {
        GetSecurityInfo(
            file.as_raw_handle(),
            SE_FILE_OBJECT,
            what,
            none,
            none,
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut descriptor,
        )
    };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(code).unwrap_or(i32::MAX)));
    }
    Descriptor(Local(descriptor)).text()
}

/// Makes one directory with this descriptor.
pub(super) fn create_directory(path: &Path, descriptor: &Descriptor) -> io::Result<()> {
    let (path, attributes) = (zero_ended(path.as_os_str())?, descriptor.attributes());
    // SAFETY: the path ends with a zero; the attributes point to a descriptor that is borrowed here.
    checked(unsafe { CreateDirectoryW(path.as_ptr(), &raw const attributes) })
}

/// Makes a file for writing with this descriptor; fails where the name is taken.
pub(super) fn create_file(path: &Path, descriptor: &Descriptor) -> io::Result<File> {
    let (path, attributes) = (zero_ended(path.as_os_str())?, descriptor.attributes());
    let shared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    // SAFETY: the path ends with a zero; the attributes point to a descriptor that is borrowed here; no template.
    let handle = unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_WRITE,
            shared,
            &raw const attributes,
            CREATE_NEW,
            FILE_ATTRIBUTE_NORMAL,
            ptr::null_mut(),
        )
    };
    owned(handle).map(File::from)
}

/// Makes one place of a pipe with this descriptor.
pub(super) fn create_pipe(
    options: &ServerOptions,
    name: &str,
    descriptor: &Descriptor,
) -> io::Result<NamedPipeServer> {
    let mut attributes = descriptor.attributes();
    let attributes: *mut c_void = (&raw mut attributes).cast();
    // SAFETY: the attributes are whole and point to a descriptor that is borrowed here; both outlive the call.
    unsafe { options.create_with_security_attributes_raw(name, attributes) }
}

/// An account as Windows numbers it, and whether it has an administrator's rights in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) sid: String,
    pub(super) is_administrator: bool,
    /// `DOMAIN\name`, where Windows knows one.
    pub(super) name: Option<String>,
}

/// The account of this process.
pub(super) fn own_account() -> io::Result<Account> {
    let mut token = ptr::null_mut();
    // SAFETY: the handle of the own process is always valid; the result goes into a pointer of ours.
    checked(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) })?;
    account_of(&owned(token)?, None)
}

/// The account of whoever opened the pipe's other end, as the kernel knows it.
///
/// The kernel noted it when the pipe was opened. A caller that hides it is an error.
pub(super) fn caller_of(pipe: &NamedPipeServer) -> io::Result<Account> {
    // SAFETY: the pipe is open. From here to the return below this thread acts for the caller; nothing but the look at its
    // own token happens in between.
    checked(unsafe { ImpersonateNamedPipeClient(pipe.as_raw_handle()) })?;
    let mut token = ptr::null_mut();
    // SAFETY: the handle of the own thread is always valid; opened as this process itself, into a pointer of ours.
    let opened = checked(unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &raw mut token) });
    // SAFETY: no arguments.
    if unsafe { RevertToSelf() } == 0 {
        // To go on as somebody else would be worse than to end.
        std::process::abort();
    }
    opened?;
    let token = owned(token)?;
    account_of(&token, Some(&token))
}

/// The account of a token. Rights in force are those of `acting`, a token for acting as somebody, or else this process's own:
/// a token of a process cannot be asked for them.
fn account_of(token: &OwnedHandle, acting: Option<&OwnedHandle>) -> io::Result<Account> {
    // Room for the structure and the longest SID behind it, aligned as the structure.
    let mut room = [0_u64; 32];
    let (size, mut needed) = (u32::try_from(size_of_val(&room)).unwrap_or_default(), 0);
    // SAFETY: writes at most the given size into the room.
    checked(unsafe {
        GetTokenInformation(token.as_raw_handle(), TokenUser, room.as_mut_ptr().cast(), size, &raw mut needed)
    })?;
    // SAFETY: on success the room begins with this structure, for which it is large and aligned enough.
    let user: TOKEN_USER = unsafe { ptr::read(room.as_ptr().cast()) };
    let sid = user.User.Sid;
    let is_administrator = has_administrators(acting)?;
    Ok(Account { sid: sid_text(sid)?, is_administrator, name: account_name(sid) })
}

fn has_administrators(acting: Option<&OwnedHandle>) -> io::Result<bool> {
    let mut sid = [0_u32; SECURITY_MAX_SID_SIZE as usize / 4];
    let (mut size, mut is_member) = (SECURITY_MAX_SID_SIZE, 0);
    // SAFETY: writes at most the given size, that of the array.
    checked(unsafe {
        CreateWellKnownSid(
            WinBuiltinAdministratorsSid,
            ptr::null_mut(),
            sid.as_mut_ptr().cast(),
            &raw mut size,
        )
    })?;
    let token = acting.map_or(ptr::null_mut(), |token| token.as_raw_handle());
    // SAFETY: the token is open, or none, which stands for this process; the SID was made by the call before, the result goes
    // into a number of ours.
    checked(unsafe { CheckTokenMembership(token, sid.as_mut_ptr().cast(), &raw mut is_member) })?;
    Ok(is_member != 0)
}

/// `sid` must be a valid one.
fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = ptr::null_mut();
    // SAFETY: the caller's SID is valid; the result goes into a pointer of ours.
    checked(unsafe { ConvertSidToStringSidW(sid, &raw mut text) })?;
    Ok(take_text(text))
}

/// `sid` must be a valid one. An account that is not known any more, or not here, has no name.
fn account_name(sid: PSID) -> Option<String> {
    let (mut name, mut domain) = ([0_u16; 257], [0_u16; 257]);
    let (mut name_size, mut domain_size, mut kind) = (257, 257, 0);
    // SAFETY: the caller's SID is valid; both texts have the sizes that are given.
    let found = unsafe {
        LookupAccountSidW(
            ptr::null(),
            sid,
            name.as_mut_ptr(),
            &raw mut name_size,
            domain.as_mut_ptr(),
            &raw mut domain_size,
            &raw mut kind,
        )
    };
    let text = |units: &[u16], size: u32| {
        let size = usize::try_from(size).unwrap_or_default();
        units.get(..size).map(String::from_utf16_lossy)
    };
    if found == 0 {
        return None;
    }
    let (name, domain) = (text(&name, name_size)?, text(&domain, domain_size)?);
    Some(if domain.is_empty() { name } else { format!("{domain}\\{name}") })
}

/// How Windows writes an account in an access list here: by its number, or by a short name for known ones.
pub(super) fn as_in_lists(sid: &str) -> io::Result<String> {
    let text = Descriptor::new(&format!("O:{sid}"))?.text()?;
    Ok(text.strip_prefix("O:").unwrap_or(&text).to_owned())
}

/// Bytes that this account can still write on the volume of a path.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let (path, mut bytes) = (zero_ended(path.as_os_str())?, 0);
    // SAFETY: the path ends with a zero; one of the three results is asked for, into a number of ours.
    checked(unsafe { GetDiskFreeSpaceExW(path.as_ptr(), &raw mut bytes, ptr::null_mut(), ptr::null_mut()) })?;
    Ok(bytes)
}

/// The process that made a pipe, by the pipe's other end.
pub(super) fn server_of(pipe: &File) -> io::Result<u32> {
    let mut process = 0;
    // SAFETY: the handle is open, and one of another kind is an error; the result goes into a number of ours.
    checked(unsafe { GetNamedPipeServerProcessId(pipe.as_raw_handle(), &raw mut process) })?;
    Ok(process)
}

/// A process, held so that its number cannot come to mean another one.
#[derive(Debug)]
pub(crate) struct Process(OwnedHandle);

impl Process {
    pub(crate) fn open(number: u32) -> io::Result<Self> {
        let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE | PROCESS_SYNCHRONIZE;
        // SAFETY: no pointers; the handle that it gives is owned.
        Ok(Self(owned(unsafe { OpenProcess(rights, 0, number) })?))
    }

    /// The file of its program.
    pub(crate) fn program(&self) -> io::Result<PathBuf> {
        let mut path = vec![0_u16; TEXT_MAX];
        let mut size = u32::try_from(path.len()).unwrap_or_default();
        // SAFETY: the handle is open; at most the given size is written.
        checked(unsafe {
            QueryFullProcessImageNameW(
                self.0.as_raw_handle(),
                PROCESS_NAME_WIN32,
                path.as_mut_ptr(),
                &raw mut size,
            )
        })?;
        let units = path.get(..usize::try_from(size).unwrap_or_default()).unwrap_or_default();
        Ok(OsString::from_wide(units).into())
    }

    /// Ends it; one that is gone already is what is wanted.
    pub(crate) fn kill(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        let ended = checked(unsafe { TerminateProcess(self.0.as_raw_handle(), ENDED) });
        if self.is_gone_within(Duration::ZERO) { Ok(()) } else { ended }
    }

    pub(crate) fn is_gone_within(&self, wait: Duration) -> bool {
        let millis = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX - 1);
        // SAFETY: the handle is open and may be waited for.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), millis) == WAIT_OBJECT_0 }
    }
}

/// Bounds the privileges of a service's processes to these.
pub(crate) fn set_required_privileges(service: &Service, privileges: &[&str]) -> io::Result<()> {
    let mut list: Vec<u16> =
        privileges.iter().flat_map(|name| name.encode_utf16().chain(std::iter::once(0))).collect();
    // An empty name ends the list.
    list.push(0);
    let info = SERVICE_REQUIRED_PRIVILEGES_INFOW { pmszRequiredPrivileges: list.as_mut_ptr() };
    // SAFETY: the handle is open as long as the service lives; the structure is the one of this class, and its list, which ends
    // with two zeros, outlives the call.
    checked(unsafe {
        ChangeServiceConfig2W(
            service.raw_handle(),
            SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO,
            (&raw const info).cast(),
        )
    })
}

/// Closes a secret so that it opens on this machine only (DPAPI), for whoever may read what comes out.
pub(crate) fn close_for_machine(secret: &[u8]) -> io::Result<Vec<u8>> {
    let (given, mut closed) = (blob(secret)?, CRYPT_INTEGER_BLOB::default());
    // SAFETY: the blob names bytes that are borrowed here; the result goes into a blob of ours; what may be null is.
    checked(unsafe {
        CryptProtectData(
            &raw const given,
            ptr::null(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
            CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN,
            &raw mut closed,
        )
    })?;
    Ok(take_bytes(&closed).to_vec())
}

/// Opens what [`close_for_machine`] gave here.
pub(crate) fn open_for_machine(closed: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let (given, mut opened) = (blob(closed)?, CRYPT_INTEGER_BLOB::default());
    // SAFETY: as for closing.
    checked(unsafe {
        CryptUnprotectData(
            &raw const given,
            ptr::null_mut(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
            CRYPTPROTECT_UI_FORBIDDEN,
            &raw mut opened,
        )
    })?;
    Ok(take_bytes(&opened))
}

/// `bytes` as Windows takes them; valid as long as they are.
fn blob(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok(CRYPT_INTEGER_BLOB { cbData: length, pbData: bytes.as_ptr().cast_mut() })
}

/// Bytes that Windows allocated; they are freed, after they are wiped.
fn take_bytes(blob: &CRYPT_INTEGER_BLOB) -> Zeroizing<Vec<u8>> {
    let memory = Local(blob.pbData.cast());
    if memory.0.is_null() {
        return Zeroizing::default();
    }
    let length = usize::try_from(blob.cbData).unwrap_or_default();
    // SAFETY: Windows allocated this many bytes, which are nobody else's until they are freed at the end of this function.
    let bytes = unsafe { std::slice::from_raw_parts_mut(blob.pbData, length) };
    let taken = Zeroizing::new(bytes.to_vec());
    bytes.zeroize();
    taken
}

/// Memory that Windows allocated for us.
#[derive(Debug)]
struct Local(*mut c_void);

// SAFETY: it belongs to nobody else, and is only read until it is freed.
unsafe impl Send for Local {}
// SAFETY: as above.
unsafe impl Sync for Local {}

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: Windows allocated it by LocalAlloc, as its documents say of each call whose result ends up here.
        unsafe { LocalFree(self.0) };
    }
}

/// A text that Windows allocated; it is freed.
fn take_text(text: *mut u16) -> String {
    let memory = Local(text.cast());
    if memory.0.is_null() {
        return String::new();
    }
    // SAFETY: Windows ends its texts with a zero, before which every unit can be read.
    let length = (0..TEXT_MAX).take_while(|at| unsafe { *text.add(*at) } != 0).count();
    // SAFETY: these units were just read.
    String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length) })
}

fn zero_ended(text: &OsStr) -> io::Result<Vec<u16>> {
    let mut units: Vec<u16> = text.encode_wide().collect();
    if units.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    units.push(0);
    Ok(units)
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
