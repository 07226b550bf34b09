//! The event log's texts, which are in the program.

#![expect(unsafe_code, reason = "no safe library reads a message table")]

use std::os::windows::ffi::OsStrExt as _;
use std::ptr;

use rs_session::forward::EventKind;
use windows_sys::Win32::Foundation::FreeLibrary;
use windows_sys::Win32::System::Diagnostics::Debug::{
    FORMAT_MESSAGE_ARGUMENT_ARRAY, FORMAT_MESSAGE_FROM_HMODULE, FormatMessageW,
};
use windows_sys::Win32::System::LibraryLoader::{LOAD_LIBRARY_AS_DATAFILE, LoadLibraryExW};

/// What a viewer shows of an entry with this number and string; `None` where the program has no text for it.
fn shown(number: u32, string: &str) -> Option<String> {
    let ended = |units: Vec<u16>| [units, vec![0]].concat();
    let program = ended(crate::machine::program().as_os_str().encode_wide().collect());
    let string = ended(string.encode_utf16().collect());
    let mut text = [0_u16; 256];
    // SAFETY: the path ends with a zero; nothing of the file is run.
    let library = unsafe { LoadLibraryExW(program.as_ptr(), ptr::null_mut(), LOAD_LIBRARY_AS_DATAFILE) };
    assert!(!library.is_null(), "the program cannot be read");
    let arguments = [string.as_ptr()];
    // SAFETY: the library is open; the text has the given size; the array has the one string that the text of the table names.
    let length = unsafe {
        FormatMessageW(
            FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY,
            library,
            number,
            0,
            text.as_mut_ptr(),
            256,
            arguments.as_ptr().cast(),
        )
    };
    // SAFETY: it was opened above.
    unsafe { FreeLibrary(library) };
    let length = usize::try_from(length).expect("small");
    (length > 0).then(|| String::from_utf16_lossy(&text[..length]))
}

#[test]
fn q02_each_kind_of_event_has_a_text_in_the_program() {
    for kind in EventKind::ALL {
        let text = shown(u32::from(kind.number()), "Consent granted: for 8 hours");
        assert_eq!(text.as_deref(), Some("Consent granted: for 8 hours\r\n"), "{}", kind.number());
    }
    assert_eq!(shown(17999, "x"), None);
    assert_eq!(shown(18300, "x"), None);
}
