//! Azurite, the storage emulator, as a real process, and a plain client that talks to it apart from the program.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rs_proxy::net::Trust;
use rs_relay::server::dev_certificate;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use crate::daemon::{Daemon, until};

const ACCOUNT: &str = "testaccount";
/// The account's key, made up for these tests.
const KEY: [u8; 32] = [7; 32];

/// The emulator with one container.
pub(crate) struct Azurite {
    _process: Daemon,
    port: u16,
    tls: Option<Tls>,
}

/// What makes it reachable by HTTPS only.
struct Tls {
    /// The name in its certificate.
    name: String,
    client: Arc<ClientConfig>,
}

/// Where `scripts/test` puts it.
fn program() -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/azurite");
    let folder = std::env::var_os("AZURITE").map_or(usual, PathBuf::from);
    folder.join("node_modules/azurite/dist/src/blob/main.js")
}

impl Azurite {
    /// Starts it, or says why this machine cannot have it.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        Self::start_with(folder, &[], None)
    }

    /// As [`Azurite::start`], by HTTPS under a name or an address. Its authority's certificate is `azurite-ca.pem` in the
    /// folder.
    pub(crate) fn start_tls(folder: &Path, name: &str) -> Option<Self> {
        let made = dev_certificate([name]).expect("made");
        let write = |file: &str, pem: &str| {
            let path = folder.join(file);
            std::fs::write(&path, pem).expect("own directory");
            path.into_os_string().into_string().expect("text")
        };
        write("azurite-ca.pem", made.authority_pem());
        let certificate = write("azurite.pem", &made.server_pem());
        let key = write("azurite.key", made.key_pem().expose_secret());
        let trust = Trust::system().and_then(|trust| trust.with_ca_pem(made.authority_pem().as_bytes()));
        let client = trust.and_then(|trust| trust.client_config()).expect("a client");
        let tls = Tls { name: name.to_owned(), client: Arc::new(client) };
        Self::start_with(folder, &["--cert", &certificate, "--key", &key], Some(tls))
    }

    fn start_with(folder: &Path, more: &[&str], tls: Option<Tls>) -> Option<Self> {
        let program = program();
        if !program.exists() {
            assert!(std::env::var_os("REQUIRE_AZURITE").is_none(), "{} is required here", program.display());
            eprintln!("skipped: {} is not there; scripts/test installs it", program.display());
            return None;
        }
        let mut command = Command::new("node");
        command
            .arg(program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0"])
            .args(["--inMemoryPersistence", "--disableTelemetry", "--disableProductStyleUrl"])
            .args(more)
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", STANDARD.encode(KEY)))
            .current_dir(folder);
        let process = Daemon::start(command, folder.join("azurite"));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listens = format!("successfully listens on {scheme}://127.0.0.1:");
        let port = until("Azurite listens", || {
            process.stdout().split_once(&listens)?.1.split_whitespace().next()?.parse().ok()
        });
        let azurite = Self { _process: process, port, tls };
        let target = format!("/{ACCOUNT}/logs?restype=container&{}", azurite.signature("c", "c"));
        assert_eq!(azurite.ask("PUT", &target, b"").0, 201, "the container is made");
        Some(azurite)
    }

    /// A signature for the account: what it may do, and on what.
    fn signature(&self, rights: &str, on: &str) -> String {
        let (version, end) = ("2018-11-09", "2099-01-01");
        let text = format!("{ACCOUNT}\n{rights}\nb\n{on}\n\n{end}\n\n\n{version}\n");
        let mut mac = Hmac::<Sha256>::new_from_slice(&KEY).expect("a key");
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("sv={version}&ss=b&srt={on}&sp={rights}&se={end}&sig={signature}")
    }

    /// The URL that an operator hands in: create and write, nothing else.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same through something that listens at another port.
    pub(crate) fn url_at(&self, port: u16) -> String {
        let (scheme, name) = self.tls.as_ref().map_or(("http", "127.0.0.1"), |tls| ("https", &*tls.name));
        format!("{scheme}://{name}:{port}/{ACCOUNT}/logs?{}", self.signature("cw", "o"))
    }

    /// A blob, as it arrived.
    pub(crate) fn blob(&self, name: &str) -> Option<Vec<u8>> {
        let (status, body) =
            self.ask("GET", &format!("/{ACCOUNT}/logs/{name}?{}", self.signature("r", "o")), b"");
        (status == 200).then_some(body)
    }

    /// Names of all blobs that are there whole.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let target = format!("/{ACCOUNT}/logs?restype=container&comp=list&{}", self.signature("l", "c"));
        let (status, body) = self.ask("GET", &target, b"");
        assert_eq!(status, 200);
        let text = String::from_utf8(body).expect("text");
        text.split("<Name>")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once("</Name>")?.0.to_owned()))
            .collect()
    }

    fn ask(&self, method: &str, target: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("Azurite listens");
        let head = format!(
            "{method} {target} HTTP/1.0\r\nHost: 127.0.0.1\r\nx-ms-version: 2021-12-02\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let question = [head.as_bytes(), body].concat();
        let answer = match &self.tls {
            None => talk(stream, &question),
            Some(tls) => {
                let name = ServerName::try_from(tls.name.clone()).expect("a name");
                let client = ClientConnection::new(Arc::clone(&tls.client), name).expect("a client");
                talk(StreamOwned::new(client, stream), &question)
            }
        };
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let status = std::str::from_utf8(&answer[9..12]).expect("a status").parse().expect("a number");
        (status, answer[end + 4..].to_vec())
    }

    /// Something in between that cuts the first `cut` connections after some bytes and forwards all others.
    pub(crate) fn behind_a_bad_line(&self, cut: usize) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (port, behind) = (listener.local_addr().expect("an address").port(), self.port);
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    if number < cut {
                        let mut some = [0; 700];
                        // It is cut either way.
                        let _ = (&client).read(&mut some);
                        let _ = client.shutdown(Shutdown::Both);
                        return;
                    }
                    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).expect("Azurite listens");
                    let (mut from, mut to) =
                        (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                    let _ = std::io::copy(&mut &server, &mut &client);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        (port, seen)
    }
}

/// Everything that comes back.
fn talk(mut stream: impl Read + Write, question: &[u8]) -> Vec<u8> {
    stream.write_all(question).expect("sent");
    stream.flush().expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}
