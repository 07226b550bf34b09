//! For Windows: puts the texts of the event log's numbers, and what the file says of itself, into the program as resources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Numbers of events, of which each has the text `%1`: the log shows what the entry says. The kinds of events are in this range.
const NUMBERS: std::ops::RangeInclusive<u32> = 18000..=18299;
const TEXT: &str = "%1\r\n";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=WINDRES");
    if env("CARGO_CFG_TARGET_OS") != "windows" {
        return;
    }
    let place = PathBuf::from(env("OUT_DIR"));
    let script = place.join("resources.rc");
    let written = fs::write(place.join("messages.bin"), message_table())
        .and_then(|()| fs::write(&script, resources(&env("CARGO_PKG_VERSION"))));
    if let Err(error) = written {
        panic!("the resources cannot be written to {}: {error}", place.display());
    }
    match compile(&script, &place) {
        Ok(object) => println!("cargo:rustc-link-arg-bins={}", object.display()),
        // The program does all its work without them.
        Err(why) => println!("cargo:warning=events of this program will be shown without their text: {why}"),
    }
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// A message table (RT_MESSAGETABLE): how many blocks; of each the first and last number and where its entries begin; of each
/// entry its length, 1 for UTF-16, and the text up to a multiple of four bytes.
fn message_table() -> Vec<u8> {
    let mut text: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    text.extend([0, 0]);
    text.resize(text.len().next_multiple_of(4), 0);
    let length = u16::try_from(text.len() + 4).unwrap_or_default();
    let mut table = Vec::new();
    for number in [1, *NUMBERS.start(), *NUMBERS.end(), 16] {
        table.extend(number.to_le_bytes());
    }
    for _ in NUMBERS {
        table.extend(length.to_le_bytes());
        table.extend(1_u16.to_le_bytes());
        table.extend(&text);
    }
    table
}

fn resources(version: &str) -> String {
    let numbers = version.split(['.', '-']).take(3).collect::<Vec<_>>().join(",");
    format!(
        r#"1 11 "messages.bin"
1 VERSIONINFO
FILEVERSION {numbers},0
PRODUCTVERSION {numbers},0
FILEOS 0x40004
FILETYPE 1
BEGIN
  BLOCK "StringFileInfo"
  BEGIN
    BLOCK "040904b0"
    BEGIN
      VALUE "FileDescription", "Remote support for Azure Local"
      VALUE "FileVersion", "{version}"
      VALUE "InternalName", "remote-support"
      VALUE "OriginalFilename", "remote-support.exe"
      VALUE "ProductName", "Remote support"
      VALUE "ProductVersion", "{version}"
    END
  END
  BLOCK "VarFileInfo"
  BEGIN
    VALUE "Translation", 0x409, 1200
  END
END
"#
    )
}

/// Compiles the script with the target's resource compiler: GNU's, or Microsoft's from the developer's prompt.
fn compile(script: &Path, place: &Path) -> Result<PathBuf, String> {
    let gnu = env("CARGO_CFG_TARGET_ENV") == "gnu";
    let usual = match (gnu, env("HOST").contains("windows")) {
        (true, true) => "windres".to_owned(),
        (true, false) => format!("{}-w64-mingw32-windres", env("CARGO_CFG_TARGET_ARCH")),
        (false, _) => "rc.exe".to_owned(),
    };
    let program = std::env::var("WINDRES").unwrap_or(usual);
    let (object, mut command) =
        (place.join(if gnu { "resources.o" } else { "resources.res" }), Command::new(&program));
    command.current_dir(place);
    if gnu {
        command.args(["--output-format=coff", "--input"]).arg(script).arg("--output").arg(&object);
    } else {
        command.args(["/nologo", "/fo"]).arg(&object).arg(script);
    }
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(object) } else { Err(format!("{program}: {status}")) }
}
