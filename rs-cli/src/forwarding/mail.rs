//! Mail: what happened since the last one, as text, handed to a server by SMTP.

use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters, TlsVersion};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use rs_consent::digest::Sha256;
use rs_session::forward::sink::{Encoded, Mark, Pace, Sink, SinkError};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::digest;
use super::target::{MailSecurity, MailServer};
use crate::files;
use crate::outcome::{ErrorCode, Failure};

/// Most events of one mail, and the least time between two: the first comes at once, what follows is gathered.
pub const PACE: Pace = Pace { most: 1_000, every: Duration::from_secs(60) };
/// Longest wait for one answer of the server.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Longest time of one delivery, connection included.
const DELIVERY_WAIT: Duration = Duration::from_secs(120);
/// Most recipients of a mail.
pub const RECIPIENTS_MAX: usize = 16;
/// Longest address, in bytes.
const ADDRESS_BYTES_MAX: usize = 254;

/// Who writes to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Letter {
    /// Address of the sender.
    pub from: String,
    /// Addresses of the recipients, at most [`RECIPIENTS_MAX`].
    pub to: Vec<String>,
    /// File with `user:password` for the server, mode 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<std::path::PathBuf>,
}

impl Letter {
    /// The addresses, read.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidValue`] for one that is none, none at all, or too many.
    pub fn addresses(&self) -> Result<(Mailbox, Vec<Mailbox>), Failure> {
        let count = self.to.len();
        if !(1..=RECIPIENTS_MAX).contains(&count) {
            return Err(Failure::new(
                ErrorCode::InvalidValue,
                format!("a mail has 1 to {RECIPIENTS_MAX} recipients, not {count}"),
            )
            .about("--mail-to"));
        }
        let to = self.to.iter().map(|text| mailbox(text, "--mail-to")).collect::<Result<_, _>>()?;
        Ok((mailbox(&self.from, "--mail-from")?, to))
    }
}

fn mailbox(text: &str, option: &str) -> Result<Mailbox, Failure> {
    let refused = || {
        Failure::new(ErrorCode::InvalidValue, format!("`{}` is no mail address", crate::output::safe(text)))
            .about(option.to_owned())
            .next_step("write name@example.com")
    };
    // Only the address: a display name could hold what a mail program shows as another address.
    let address = text.parse::<lettre::Address>().map_err(|error| refused().because(error))?;
    if text.len() > ADDRESS_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(refused());
    }
    Ok(Mailbox::new(None, address))
}

/// Sends mail.
pub(super) struct MailSink {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl MailSink {
    /// Mail as `letter` says, by `server`; `ca` is a file with its authority, `node` the name by which this machine greets.
    pub(super) fn new(
        server: &MailServer,
        letter: &Letter,
        ca: Option<&Path>,
        node: &str,
    ) -> Result<Self, Failure> {
        let (from, to) = letter.addresses()?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.clone())
            .port(server.port)
            .timeout(Some(ANSWER_WAIT))
            .tls(match server.security {
                MailSecurity::None => Tls::None,
                MailSecurity::StartTls => Tls::Required(tls(&server.host, ca)?),
                MailSecurity::Tls => Tls::Wrapper(tls(&server.host, ca)?),
            });
        if node.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
            builder = builder.hello_name(ClientId::Domain(node.to_owned()));
        }
        if let Some(path) = &letter.credentials_file {
            let text = files::read_secret(path)?;
            let (user, password) = text.expose_secret().split_once(':').ok_or_else(|| {
                Failure::new(ErrorCode::InvalidFile, "the file does not hold user:password")
                    .about(path.display().to_string())
            })?;
            builder = builder.credentials(Credentials::new(user.to_owned(), password.to_owned()));
        }
        Ok(Self { transport: builder.build(), from, to })
    }

    fn message(&self, batch: &[Encoded]) -> Result<Message, lettre::error::Error> {
        let digest = digest::of(batch, PACE.most);
        let ids: Vec<_> = batch.iter().map(|one| one.event.id.as_bytes()).collect();
        // The same for the same events, so that a mail that came twice can be told.
        let id = Sha256::of(&ids.join(&b'\n')).to_string();
        let mut message = Message::builder()
            .from(self.from.clone())
            .message_id(Some(format!("<{}@{}>", id.get(..32).unwrap_or(&id), self.from.email.domain())))
            .subject(format!("[remote-support] {}", digest.heading))
            .header(AutoSubmitted);
        if let Some(last) = batch.last() {
            message = message.date(SystemTime::from(last.event.time));
        }
        for to in &self.to {
            message = message.to(to.clone());
        }
        let body = format!(
            "{}\n\nMore on the node: remote-support history. End all access now: remote-support disable.\n",
            digest.lines.join("\n"),
        );
        message.header(ContentType::TEXT_PLAIN).body(body)
    }
}

#[async_trait]
impl Sink for MailSink {
    fn pace(&self) -> Pace {
        PACE
    }

    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        let message = self.message(batch).map_err(std::io::Error::other)?;
        let sent = timeout(DELIVERY_WAIT, self.transport.send(message))
            .await
            .map_err(|_| SinkError::Slow("take the mail"))?;
        match sent {
            Ok(_) => Ok(None),
            Err(error) if error.is_permanent() || error.is_transient() => {
                Err(SinkError::Refused(whole(&error)))
            }
            Err(error) => Err(SinkError::Io(std::io::Error::other(whole(&error)))),
        }
    }
}

/// An error with its causes, on one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    crate::output::safe(&text)
}

fn tls(host: &str, ca: Option<&Path>) -> Result<TlsParameters, Failure> {
    let invalid = |error: lettre::transport::smtp::Error, about: String| {
        Failure::new(ErrorCode::InvalidFile, "the certificates of the mail server's authority cannot be used")
            .about(about)
            .because(error)
    };
    let mut parameters = TlsParameters::builder(host.to_owned()).set_min_tls_version(TlsVersion::Tlsv12);
    if let Some(path) = ca {
        let pem = files::read(path, files::SECRET_BYTES_MAX * 4)?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|error| invalid(error, path.display().to_string()))?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    parameters.build_rustls().map_err(|error| invalid(error, host.to_owned()))
}

/// Says to other machines that nobody wrote this, so that none answers (RFC 3834).
#[derive(Debug, Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use rs_session::forward::{Event, EventKind, Format};

    use super::*;

    fn sink() -> MailSink {
        let server = MailServer { host: "localhost".to_owned(), port: 25, security: MailSecurity::None };
        let letter = Letter {
            from: "node@example.com".to_owned(),
            to: vec!["owner@example.com".to_owned()],
            credentials_file: None,
        };
        MailSink::new(&server, &letter, None, "node-01").expect("made")
    }

    fn letter(to: Vec<String>, from: &str) -> Letter {
        Letter { from: from.to_owned(), to, credentials_file: None }
    }

    #[test]
    fn recipients_have_their_bounds() {
        let many =
            |count| letter(vec!["a@example.com".to_owned(); count], "b@example.com").addresses().is_ok();
        assert_eq!(
            [many(0), many(1), many(RECIPIENTS_MAX), many(RECIPIENTS_MAX + 1)],
            [false, true, true, false]
        );
    }

    #[test]
    fn sec37_an_address_is_an_address_and_no_header() {
        for bad in [
            "",
            "a",
            "a@b\r\nBcc: c@example.com",
            "a@b\nX: y",
            "A <a@b.example>, c@d.example",
            "a@b.example c@d.example",
            "a@b.example\u{0}",
        ] {
            assert!(letter(vec![bad.to_owned()], "b@example.com").addresses().is_err(), "{bad:?}");
            assert!(letter(vec!["b@example.com".to_owned()], bad).addresses().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sec37_nothing_that_an_engineer_wrote_becomes_a_header() {
        let evil = "x\r\nBcc: victim@example.com\r\n\r\n.\r\nMAIL FROM:<a@b>\r\n";
        let at = "2026-11-28T10:00:00Z".parse().expect("a time");
        let mut event =
            Event::new("x/1\r\nBcc: v@example.com", "node-01", EventKind::CommandRefused, at, evil);
        event.line = Some(evil.to_owned());
        event.engineer = Some(evil.to_owned());
        let encoded = Encoded { bytes: Format::Text.encode(&event), event };
        let mail = sink().message(&[encoded]).expect("made").formatted();
        let mail = String::from_utf8(mail).expect("text");
        let (head, body) = mail.split_once("\r\n\r\n").expect("head and body");
        let names: Vec<_> = head
            .split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .filter_map(|line| line.split_once(':').map(|(name, _)| name))
            .collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            [
                "Auto-Submitted",
                "Content-Transfer-Encoding",
                "Content-Type",
                "Date",
                "From",
                "Message-ID",
                "Subject",
                "To"
            ]
        );
        assert!(
            !head.contains("victim") && !body.lines().any(|line| line.starts_with("MAIL") || line == "."),
            "{mail}"
        );
    }

    #[test]
    fn the_same_events_make_the_same_message_id() {
        let at = "2026-11-28T10:00:00Z".parse().expect("a time");
        let event = |id: &str| {
            let event = Event::new(id, "node-01", EventKind::SessionEnded, at, "over");
            Encoded { bytes: Format::Text.encode(&event), event }
        };
        let id = |events: &[Encoded]| {
            let mail = String::from_utf8(sink().message(events).expect("made").formatted()).expect("text");
            mail.lines().find(|line| line.starts_with("Message-ID")).expect("there").to_owned()
        };
        assert_eq!(id(&[event("a"), event("b")]), id(&[event("a"), event("b")]));
        assert_ne!(id(&[event("a"), event("b")]), id(&[event("a")]));
    }
}
