//! What one operation may use.

use serde::{Deserialize, Serialize};

/// What one operation may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of output; the rest is cut. Default 16 MiB, at most [`Limits::OUTPUT_BYTES_MAX`].
    pub output_bytes: u64,
    /// Bytes of output a second; an operation that gives more is held to it. Default 8 MiB, 1 to 1 GiB.
    pub output_bytes_per_second: u64,
    /// Seconds from start to end. Default 3900, so that the longest operation of an hour fits; at most one day.
    pub seconds: u32,
    /// Seconds of processor time. Default 120, 1 to one day.
    pub cpu_seconds: u32,
    /// Bytes of address space. Default 2 GiB, 32 MiB to 1 TiB.
    pub memory_bytes: u64,
    /// Open files. Default 256, 8 to 65 536.
    pub files: u32,
    /// Processes and threads. Default 64, 1 to 4096.
    pub processes: u32,
}

impl Limits {
    /// Largest output that can be permitted: 1 GiB.
    pub const OUTPUT_BYTES_MAX: u64 = 1 << 30;
    /// Longest time that can be permitted: one day.
    pub const SECONDS_MAX: u32 = 86_400;

    /// What is out of its range, in words; `None` if all is well.
    ///
    /// ```
    /// use rs_session::operations::Limits;
    ///
    /// let limits: Limits = serde_json::from_str(r#"{ "seconds": 60 }"#).unwrap();
    /// assert_eq!(limits.fault(), None);
    /// assert!(Limits { files: 7, ..limits }.fault().unwrap().contains("files"));
    /// ```
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let day = u64::from(Self::SECONDS_MAX);
        let ranges = [
            ("outputBytes", self.output_bytes, 1, Self::OUTPUT_BYTES_MAX),
            ("outputBytesPerSecond", self.output_bytes_per_second, 1, 1 << 30),
            ("seconds", u64::from(self.seconds), 0, day),
            ("cpuSeconds", u64::from(self.cpu_seconds), 1, day),
            ("memoryBytes", self.memory_bytes, 32 << 20, 1 << 40),
            ("files", u64::from(self.files), 8, 65_536),
            ("processes", u64::from(self.processes), 1, 4096),
        ];
        let outside = ranges.into_iter().find(|(_, value, low, high)| value < low || value > high);
        outside.map(|(name, value, low, high)| format!("{name} is {value}, and goes from {low} to {high}"))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output_bytes: 16 << 20,
            output_bytes_per_second: 8 << 20,
            seconds: 3900,
            cpu_seconds: 120,
            memory_bytes: 2 << 30,
            files: 256,
            processes: 64,
        }
    }
}
