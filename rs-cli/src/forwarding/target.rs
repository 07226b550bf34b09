//! Where a collector is, as the operator writes it.

use std::path::PathBuf;
use std::str::FromStr;

use rs_session::forward::Format;
use rs_session::forward::sink::WebhookTarget;
use url::Url;

use super::Topic;

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Lines in a file.
    File(PathBuf),
    /// Syslog in datagrams.
    Udp(String, u16),
    /// Syslog over a connection.
    Tcp(String, u16),
    /// Syslog over TLS.
    Tls(String, u16),
    /// Batches to a web address; true for TLS.
    Webhook(WebhookTarget, bool),
    /// The owner's own program.
    Program(PathBuf),
    /// Mail.
    Mail(MailServer),
    /// The systemd journal of this machine.
    Journal,
    /// The terminals of everybody who is logged in here.
    Terminals,
    /// The desktop of the account that the agent runs as.
    Desktop,
    /// The event log of this machine; Windows has one.
    EventLog,
}

/// How the event log is named.
pub const EVENT_LOG: &str = "eventlog:";

/// Where mail is handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    /// Name or address of the host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What keeps others on the way from reading.
    pub security: MailSecurity,
}

/// What keeps others on the way from reading mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// Nothing.
    None,
    /// TLS, which is asked for and must be given.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "journal:" => return Ok(Self::Journal),
            "terminals:" => return Ok(Self::Terminals),
            "desktop:" => return Ok(Self::Desktop),
            EVENT_LOG => return Ok(Self::EventLog),
            _ => {}
        }
        let url = Url::parse(text).map_err(|error| format!("it cannot be read ({error}); write {FORMS}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user or password does not belong into the address; use --token-file, or --mail-credentials-file".to_owned());
        }
        if let scheme @ ("file" | "program") = url.scheme() {
            // A relative name would be read as one from the root, which nobody means.
            let start = format!("{scheme}:///");
            let from_root = text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(&start));
            let path = url.to_file_path().ok().filter(|_| from_root);
            return match (path, scheme) {
                (Some(path), "file") => Ok(Self::File(path)),
                (Some(path), _) => Ok(Self::Program(path)),
                (None, _) => Err(format!("it is named from the root: {start}PATH")),
            };
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| format!("it names no host; write {FORMS}"))?;
        // The brackets of an IPv6 address belong to the address bar, not to the name.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let webhook = |usual, tls| {
            let path = match url.query() {
                Some(query) => format!("{}?{query}", url.path()),
                None => url.path().to_owned(),
            };
            Self::Webhook(WebhookTarget { host: host.clone(), port: url.port().unwrap_or(usual), path }, tls)
        };
        let mail = |usual, security| {
            if !matches!(url.path(), "" | "/") || url.query().is_some() {
                return Err("a mail server has no path; name the recipients with --mail-to".to_owned());
            }
            Ok(Self::Mail(MailServer { host: host.clone(), port: url.port().unwrap_or(usual), security }))
        };
        match url.scheme() {
            "smtp" => mail(587, MailSecurity::StartTls),
            "smtps" => mail(465, MailSecurity::Tls),
            "smtp+clear" => mail(25, MailSecurity::None),
            "syslog+udp" => Ok(Self::Udp(host, url.port().unwrap_or(514))),
            "syslog+tcp" => Ok(Self::Tcp(host, url.port().unwrap_or(601))),
            "syslog+tls" => Ok(Self::Tls(host, url.port().unwrap_or(6514))),
            "http" => Ok(webhook(80, false)),
            "https" => Ok(webhook(443, true)),
            other => Err(format!("`{other}` is no way to a collector; write {FORMS}")),
        }
    }
}

const FORMS: &str = "file:///PATH, syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT, syslog+tls://HOST:PORT, https://HOST/PATH, \
                     program:///PATH, smtp://HOST:PORT, smtps://HOST:PORT, journal:, terminals:, desktop: or, on Windows, eventlog:";

impl Target {
    /// The format in which it is told when none is named.
    #[must_use]
    pub const fn usual_format(&self) -> Format {
        match self {
            Self::File(_) | Self::Webhook(..) | Self::Program(_) => Format::Json,
            Self::Udp(..) | Self::Tcp(..) | Self::Tls(..) => Format::Syslog,
            Self::Journal => Format::Journal,
            Self::Mail(_) | Self::Terminals | Self::Desktop | Self::EventLog => Format::Text,
        }
    }

    /// Whether it takes no format but its usual one.
    #[must_use]
    pub const fn has_one_format(&self) -> bool {
        matches!(self, Self::Program(_) | Self::Journal | Self::Mail(_) | Self::Terminals | Self::Desktop)
    }

    /// What it is told when nothing is said: people and the owner's own program of what matters at once, the others of all.
    #[must_use]
    pub fn usual_topics(&self) -> Vec<Topic> {
        match self {
            Self::Program(_) | Self::Mail(_) | Self::Terminals | Self::Desktop => vec![Topic::Notices],
            _ => Vec::new(),
        }
    }

    pub(super) const fn is_syslog(&self) -> bool {
        matches!(self, Self::Udp(..) | Self::Tcp(..) | Self::Tls(..))
    }

    /// Whether others on the way can read and change what is sent.
    #[must_use]
    pub const fn is_in_the_clear(&self) -> bool {
        match self {
            Self::Mail(server) => matches!(server.security, MailSecurity::None),
            other => matches!(other, Self::Udp(..) | Self::Tcp(..) | Self::Webhook(_, false)),
        }
    }

    /// Whether it is reached over TLS, so that an authority is of use.
    #[must_use]
    pub const fn is_over_tls(&self) -> bool {
        match self {
            Self::Mail(server) => !matches!(server.security, MailSecurity::None),
            other => matches!(other, Self::Tls(..) | Self::Webhook(_, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_usual_ports() {
        let read = |text: &str| text.parse::<Target>();
        let (folder, path) = if cfg!(windows) { ("/C:/Logs", r"C:\Logs") } else { ("/var/log", "/var/log") };
        let path = PathBuf::from(path).join("x");
        assert_eq!(read(&format!("file://{folder}/x")), Ok(Target::File(path.clone())));
        assert_eq!(read(&format!("program://{folder}/x")), Ok(Target::Program(path)));
        assert_eq!(read(EVENT_LOG), Ok(Target::EventLog));
        assert_eq!(read("syslog+udp://h"), Ok(Target::Udp("h".to_owned(), 514)));
        assert_eq!(read("syslog+tcp://h:1514"), Ok(Target::Tcp("h".to_owned(), 1514)));
        assert_eq!(read("syslog+tls://[::1]"), Ok(Target::Tls("::1".to_owned(), 6514)));
        let hook = WebhookTarget { host: "h".to_owned(), port: 443, path: "/in?x=1".to_owned() };
        assert_eq!(read("https://h/in?x=1"), Ok(Target::Webhook(hook, true)));
        let mail = |port, security| Ok(Target::Mail(MailServer { host: "h".to_owned(), port, security }));
        assert_eq!(read("smtp://h"), mail(587, MailSecurity::StartTls));
        assert_eq!(read("smtps://h"), mail(465, MailSecurity::Tls));
        assert_eq!(read("smtp+clear://h:2525"), mail(2525, MailSecurity::None));
        assert_eq!(
            [read("journal:"), read("terminals:"), read("Desktop:")],
            [Ok(Target::Journal), Ok(Target::Terminals), Ok(Target::Desktop)]
        );
        for wrong in [
            "",
            "h",
            "ftp://h",
            "https://",
            "https://user:secret@h/",
            "file:relative",
            "syslog+tcp://",
            "program:hook",
            "program://h/hook",
            "smtp://",
            "smtp://user:secret@h",
            "smtp://h/owner@example.com",
        ] {
            let why = read(wrong).expect_err(wrong);
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
