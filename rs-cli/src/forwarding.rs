//! Collectors of this node, programs and people: what is kept of each, and how it is reached.
//!
//! ```text
//! node/forward/NAME.json      where, in which format, what of (no secret: tokens stay in files of their own)
//! node/forward/NAME.cursor    how far it is
//! node/forward/NAME.trouble   what keeps events from being delivered, while something does
//! ```

mod digest;
mod mail;
mod people;
mod program;
mod target;
mod topic;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use rs_consent::Clock;
use rs_session::forward::cursor::{self, Cursor, CursorError, CursorFile};
use rs_session::forward::pump::{Encode, Pump};
use rs_session::forward::sink::{Connect, DatagramSink, Duplex, FileSink, Sink, StreamSink, WebhookSink};
use rs_session::forward::source::{NodeLogFile, Source};
use rs_session::forward::{Event, Format};
use rs_session::record::ContentKey;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

pub use self::digest::LISTED_MAX;
pub use self::mail::{Letter, PACE as MAIL_PACE, RECIPIENTS_MAX};
pub use self::people::{LINES_MAX as TERMINAL_LINES_MAX, PACE as PEOPLE_PACE};
pub use self::program::{PACE as PROGRAM_PACE, RUN_WAIT as PROGRAM_WAIT, WORDS_BYTES_MAX};
pub use self::target::{EVENT_LOG, MailSecurity, MailServer, Target};
pub use self::topic::Topic;
use crate::files;
use crate::network::{self, Way};
use crate::outcome::{ErrorCode, Failure};
use crate::records::SESSIONS_FOLDER;
use crate::state::RoleDir;

/// Folder of the collectors in the node's folder.
pub const FOLDER: &str = "forward";
/// Most collectors of a node: each has a task of its own in the agent.
pub const COLLECTORS_MAX: usize = 16;
/// Longest name of a collector.
pub const NAME_CHARS_MAX: usize = 32;
/// Largest description of a collector, in bytes.
const COLLECTOR_BYTES_MAX: usize = 64 * 1024;

/// The name of a collector: letters, digits, `-` and `_`, at most [`NAME_CHARS_MAX`]. It names files, so it is nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if fits {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!("a name has 1 to {NAME_CHARS_MAX} letters, digits, `-` or `_`"))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept of a collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Collector {
    /// Where it is, as the operator wrote it.
    pub to: String,
    /// In which format it is told.
    pub format: Format,
    /// File with the certificate of its authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// File with its bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Who writes to whom, where it is mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<Letter>,
    /// Of what it is told; without a word of everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Topic>,
}

/// The collectors of one node.
#[derive(Debug, Clone)]
pub struct Collectors {
    node: RoleDir,
    key: ContentKey,
}

impl Collectors {
    /// Those in the node's folder.
    #[must_use]
    pub const fn of(node: RoleDir) -> Self {
        Self { node, key: None }
    }

    /// The same, which are told of the contents that `key` opens.
    #[must_use]
    pub fn opening(self, key: ContentKey) -> Self {
        Self { key, ..self }
    }

    fn path(&self, name: &Name, extension: &str) -> PathBuf {
        self.node.file(FOLDER).join(format!("{name}.{extension}"))
    }

    /// Their names, in order. None where there is no folder.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Io`].
    pub fn names(&self) -> Result<Vec<Name>, Failure> {
        let folder = self.node.file(FOLDER);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::io(&folder, "list the collectors", error)),
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            path.extension().filter(|extension| *extension == "json")?;
            path.file_stem()?.to_str()?.parse().ok()
        };
        let mut names: Vec<Name> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::NotFound`], [`ErrorCode::Io`], [`ErrorCode::InvalidFile`].
    pub fn read(&self, name: &Name) -> Result<Collector, Failure> {
        let path = self.path(name, "json");
        let bytes = files::read(&path, COLLECTOR_BYTES_MAX).map_err(|failure| match failure.code() {
            ErrorCode::NotFound => Failure::new(ErrorCode::NotFound, "there is no such collector")
                .about(name.to_string())
                .next_step("list them with `remote-support forward list`"),
            _ => failure,
        })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(ErrorCode::InvalidFile, "the description of a collector cannot be read")
                .about(path.display().to_string())
                .because(error)
                .next_step(format!("remove it with `remote-support forward remove {name}` and add it again"))
        })
    }

    /// Whether one of this name can be added.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn may_add(&self, name: &Name) -> Result<(), Failure> {
        let names = self.names()?;
        if names.contains(name) {
            return Err(Failure::new(ErrorCode::InvalidValue, "a collector has this name already")
                .about(name.to_string())
                .next_step(format!("take another name, or first `remote-support forward remove {name}`")));
        }
        if names.len() >= COLLECTORS_MAX {
            return Err(Failure::new(
                ErrorCode::InvalidValue,
                format!("a node has at most {COLLECTORS_MAX} collectors"),
            )
            .next_step("remove one first"));
        }
        Ok(())
    }

    /// Adds one, whose cursor stands behind what there is now, or at the beginning.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidValue`] where the name is taken or there are [`COLLECTORS_MAX`]; what keeps files from being
    /// written.
    pub fn add(
        &self,
        name: &Name,
        collector: &Collector,
        from_start: bool,
        node_name: &str,
    ) -> Result<(), Failure> {
        self.may_add(name)?;
        self.node.ensure_inner(FOLDER)?;
        let position = if from_start {
            Default::default()
        } else {
            self.source(node_name).end().map_err(|error| {
                Failure::new(ErrorCode::Io, "the node's log and records cannot be read").because(error)
            })?
        };
        let mut cursor = CursorFile::open(&self.path(name, "cursor")).map_err(unusable)?;
        cursor.store(Cursor { position, ..Cursor::default() }).map_err(unusable)?;
        let json = serde_json::to_vec_pretty(collector).map_err(|error| {
            Failure::new(ErrorCode::Internal, "the collector cannot be written").because(error)
        })?;
        files::replace_secret(&self.path(name, "json"), &json)
    }

    /// Whether there is one to be removed.
    ///
    /// # Errors
    ///
    /// As [`Self::remove`].
    pub fn may_remove(&self, name: &Name) -> Result<(), Failure> {
        self.read(name).map(drop).or_else(|failure| match failure.code() {
            ErrorCode::InvalidFile => Ok(()),
            _ => Err(failure),
        })
    }

    /// Removes one. The description goes first: from then on nobody forwards.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::NotFound`], [`ErrorCode::Io`].
    pub fn remove(&self, name: &Name) -> Result<(), Failure> {
        self.may_remove(name)?;
        for extension in ["json", "cursor", "trouble", "lock", "new"] {
            let path = self.path(name, extension);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::io(&path, "remove the file", error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How far one is; `None` where nothing was forwarded yet.
    ///
    /// # Errors
    ///
    /// What keeps the cursor from being read.
    pub fn cursor(&self, name: &Name) -> Result<Option<Cursor>, Failure> {
        cursor::read(&self.path(name, "cursor")).map_err(unusable)
    }

    /// What keeps events from being delivered to it.
    #[must_use]
    pub fn trouble(&self, name: &Name) -> Option<String> {
        fs::read_to_string(self.path(name, "trouble")).ok().filter(|text| !text.is_empty())
    }

    /// Says what keeps events from being delivered, or that nothing does.
    pub fn set_trouble(&self, name: &Name, trouble: Option<&str>) {
        let path = self.path(name, "trouble");
        // It is said again at the next change; what cannot be written here must hold up nothing.
        let _said = match trouble {
            Some(text) => files::replace_secret(&path, text.as_bytes()).is_ok(),
            None => fs::remove_file(&path).is_ok(),
        };
    }

    /// What one forwards with.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidFile`] and others of the files that it names; [`ErrorCode::Io`] where somebody else forwards.
    pub fn pump(
        &self,
        name: &Name,
        node_name: &str,
        way: &Way,
        clock: Arc<dyn Clock>,
    ) -> Result<Pump, Failure> {
        let collector = self.read(name)?;
        let target: Target = collector.to.parse().map_err(|why| {
            Failure::new(ErrorCode::InvalidFile, format!("the address of the collector: {why}"))
                .about(name.to_string())
        })?;
        let encode = encode(&target, collector.format);
        let sink = sink(&target, &collector, way, node_name)?;
        let cursor = CursorFile::open(&self.path(name, "cursor")).map_err(unusable)?;
        let pump = Pump::new(self.source(node_name), sink, encode, cursor, clock);
        let only = collector.only;
        Ok(match only.as_slice() {
            [] => pump,
            _ => pump.only(Arc::new(move |event: &Event| only.iter().any(|topic| topic.takes(event)))),
        })
    }

    fn source(&self, node_name: &str) -> Source {
        let log = Arc::new(NodeLogFile::new(self.node.path(), node_name));
        Source::new(node_name, log, self.node.file(SESSIONS_FOLDER)).opening(self.key.clone())
    }
}

fn unusable(error: CursorError) -> Failure {
    let failure = Failure::new(ErrorCode::Io, "the collector's cursor cannot be used");
    match error {
        CursorError::InUse => {
            failure.because(error).next_step("the agent forwards by itself; nothing is to be done")
        }
        error => failure.because(error),
    }
}

fn encode(target: &Target, format: Format) -> Encode {
    if target.is_syslog() {
        Arc::new(move |event: &Event| format.encode_for_syslog(event))
    } else {
        Arc::new(move |event: &Event| format.encode(event))
    }
}

fn sink(
    target: &Target,
    collector: &Collector,
    way: &Way,
    node_name: &str,
) -> Result<Box<dyn Sink>, Failure> {
    Ok(match target {
        Target::File(path) => Box::new(FileSink::new(path.clone())),
        Target::Udp(host, port) => Box::new(DatagramSink::new(host.clone(), *port)),
        Target::Tcp(host, port) => Box::new(StreamSink::new(host.clone(), *port, None)),
        Target::Tls(host, port) => {
            Box::new(StreamSink::new(host.clone(), *port, Some(tls(collector.ca.as_deref())?)))
        }
        Target::Program(path) => Box::new(program::ProgramSink(path.clone())),
        Target::Mail(server) => {
            let letter = collector.letter.as_ref().ok_or_else(|| {
                Failure::new(ErrorCode::InvalidFile, "the collector does not say who writes to whom")
                    .next_step("remove it and add it again with --mail-from and --mail-to")
            })?;
            Box::new(mail::MailSink::new(server, letter, collector.ca.as_deref(), node_name)?)
        }
        #[cfg(unix)]
        Target::Journal => {
            use rs_session::forward::sink::{JOURNAL_SOCKET, JournalSink};
            Box::new(JournalSink::new(Path::new(JOURNAL_SOCKET)))
        }
        #[cfg(not(unix))]
        Target::Journal => {
            return Err(Failure::new(ErrorCode::NotAvailable, "there is no systemd journal on this system"));
        }
        #[cfg(windows)]
        Target::EventLog => Box::new(rs_session::forward::sink::EventLogSink::new()),
        #[cfg(not(windows))]
        Target::EventLog => {
            return Err(Failure::new(ErrorCode::NotAvailable, "only Windows has an event log"));
        }
        Target::Terminals => Box::new(people::TerminalsSink),
        Target::Desktop => Box::new(people::DesktopSink::own()),
        Target::Webhook(target, encrypted) => {
            let tls = encrypted.then(|| tls(collector.ca.as_deref())).transpose()?;
            let json = matches!(collector.format, Format::Json | Format::Ocsf);
            let sink = WebhookSink::new(target.clone(), json, tls, Arc::new(Through(way.clone())));
            match &collector.token_file {
                None => Box::new(sink),
                Some(path) => {
                    let token = files::read_secret(path)?;
                    let sink = sink.with_bearer(token.expose_secret()).map_err(|error| {
                        Failure::new(ErrorCode::InvalidFile, "the token cannot be sent")
                            .about(path.display().to_string())
                            .because(error)
                    })?;
                    Box::new(sink)
                }
            }
        }
    })
}

fn tls(ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, Failure> {
    let pem = ca.map(|path| files::read(path, files::SECRET_BYTES_MAX * 4)).transpose()?;
    let trust = network::trust(pem.as_deref())?;
    let config = trust.client_config().map_err(|error| {
        Failure::new(ErrorCode::InvalidFile, "the certificates of an authority cannot be used").because(error)
    })?;
    Ok(Arc::new(config))
}

/// Webhooks go through the node's proxy.
#[derive(Debug)]
struct Through(Way);

#[async_trait]
impl Connect for Through {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Duplex>> {
        let dialer = self.0.plain_dialer().map_err(|failure| io::Error::other(failure.to_string()))?;
        let stream = dialer.connect(host, port).await.map_err(io::Error::other)?;
        Ok(Box::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec39_a_name_is_no_path() {
        for wrong in ["", "..", "a/b", "a\\b", "a.b", "ä", "a b", &"x".repeat(NAME_CHARS_MAX + 1)] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
        assert_eq!("SIEM-1".parse::<Name>().map(|name| name.to_string()), Ok("siem-1".to_owned()));
        assert!("x".repeat(NAME_CHARS_MAX).parse::<Name>().is_ok());
    }
}
