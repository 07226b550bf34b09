//! Each example runs, as its own text says.

#[cfg(test)]
mod running {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Output, Stdio};
    use std::sync::OnceLock;
    use std::time::Duration;

    use rs_relay::client::{Connector, HybridConnection, Sender, Trust};
    use rs_relay::proto::{
        Authority, AuthorizationRule, ConnectionString, Credential, EntityPath, Right, Rules, SharedKey,
    };
    use rs_relay::server::{RelayServer, TlsTransport, dev_certificate};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LONG: Duration = Duration::from_secs(60);

    /// The program of an example, built as `cargo run --example` would.
    fn program(name: &str) -> Command {
        static FOLDER: OnceLock<PathBuf> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--quiet", "--locked", "--package", "rs-examples", "--examples"]);
            assert!(build.status().unwrap().success());
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(2).unwrap().join("examples")
        });
        Command::new(folder.join(name))
    }

    fn run(command: &mut Command) -> (Output, String) {
        let output = command.env_remove("AZURE_RELAY_CONNECTION_STRING").output().unwrap();
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        (output, text)
    }

    /// A program that runs until it is dropped.
    struct Running(Child);

    impl Running {
        /// Starts it, and reads its output up to a line that begins so; gives the rest of that line.
        fn start(command: &mut Command, begin: &str) -> (Self, String) {
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let found =
                lines.find_map(|line| line.unwrap().split_once(begin).map(|(_, rest)| rest.to_owned()));
            // What follows must not fill the pipe.
            std::thread::spawn(move || lines.for_each(drop));
            (Self(child), found.unwrap_or_else(|| panic!("never said: {begin}")))
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A relay in this process, with files for its clients.
    struct Site {
        folder: tempfile::TempDir,
        text: ConnectionString,
        authority_pem: String,
        _runtime: tokio::runtime::Runtime,
    }

    impl Site {
        fn start() -> Self {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let certificate = dev_certificate(["localhost"]).unwrap();
            let key = SharedKey::generate().unwrap();
            let text = runtime.block_on(async {
                let transport =
                    TlsTransport::bind("127.0.0.1:0", &certificate.server_pem(), certificate.key_pem())
                        .await
                        .unwrap();
                let authority = Authority::new("localhost", transport.local_addr().unwrap().port()).unwrap();
                let rule = AuthorizationRule::new("root".parse().unwrap(), [Right::Manage], key.clone());
                let rules = Rules::new([rule]).unwrap();
                let server = RelayServer::builder([authority.clone()]).rules(rules).build().unwrap();
                tokio::spawn(async move { server.serve(transport).await });
                let credential = Credential::Key { name: "root".parse().unwrap(), key };
                ConnectionString::new(authority, Some("node-01".parse().unwrap()), credential)
            });
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("text"), text.expose().as_bytes()).unwrap();
            std::fs::write(folder.path().join("ca.pem"), certificate.authority_pem()).unwrap();
            let authority_pem = certificate.authority_pem().to_owned();
            Self { folder, text, authority_pem, _runtime: runtime }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// The arguments that lead to it.
        fn reach<'a>(&self, command: &'a mut Command) -> &'a mut Command {
            command
                .arg("--connection-string-file")
                .arg(self.file("text"))
                .arg("--ca")
                .arg(self.file("ca.pem"))
        }
    }

    /// A TCP server that sends back what it got, in reverse, after the end of it.
    fn reversing() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).unwrap();
                    bytes.reverse();
                    stream.write_all(&bytes).unwrap();
                });
            }
        });
        address
    }

    fn reversed_through(address: &str) {
        let mut stream = TcpStream::connect(address.trim()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let bytes: Vec<u8> = (0..200_000_u32).map(|index| (index % 251) as u8).collect();
        stream.write_all(&bytes).unwrap();
        // The target answers only after the end: half-close is carried.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back.reverse();
        assert!(back == bytes);
    }

    #[test]
    fn relay_echo() {
        let (output, text) = run(&mut program("relay_echo"));
        assert!(output.status.success() && text.contains("got back: hello through the relay"), "{text}");
    }

    #[test]
    fn http_over_relay() {
        let (output, text) = run(&mut program("http_over_relay"));
        assert!(output.status.success(), "{text}");
        for line in ["GET /hello/relay: hello, relay", "POST /length: 1000000", "GET /countdown: 3 2 1"] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn listen_on_azure_refuses_clearly_without_a_connection_string() {
        let (output, text) = run(&mut program("listen_on_azure"));
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("--connection-string-file") && text.contains("AZURE_RELAY_CONNECTION_STRING"),
            "{text}"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("listen.txt");
        let secret =
            "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=canary";
        for (content, expected) in [("nonsense=canary", ""), (secret, "EntityPath")] {
            std::fs::write(&file, content).unwrap();
            let (output, text) = run(program("listen_on_azure").arg("--connection-string-file").arg(&file));
            assert_eq!(output.status.code(), Some(2), "{text}");
            assert!(text.contains(expected) && !text.contains("canary"), "{text}");
        }
        let (output, text) =
            run(program("listen_on_azure").args(["--connection-string-file", "/nowhere/listen.txt"]));
        assert!(output.status.code() == Some(2) && text.contains("/nowhere/listen.txt"), "{text}");
    }

    #[test]
    fn listen_on_azure_echoes() {
        let site = Site::start();
        let mut command = program("listen_on_azure");
        let (mut running, _) = Running::start(site.reach(&mut command).arg("--once"), "online");
        let trust = Trust::Only(site.authority_pem.clone().into_bytes());
        let connector = Connector::builder().trust(trust).build().unwrap();
        let sender = Sender::new(HybridConnection::from_connection_string(&site.text).unwrap(), connector);
        let read = site._runtime.block_on(async {
            let mut stream = sender.connect().await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut read = String::new();
            tokio::time::timeout(LONG, stream.read_to_string(&mut read)).await.unwrap().unwrap();
            read
        });
        assert_eq!(read, "hello");
        assert!(running.0.wait().unwrap().success(), "it ends after one");
    }

    #[test]
    fn tcp_bridge_one_target() {
        let site = Site::start();
        let mut listen = program("tcp_bridge");
        let to = reversing().to_string();
        let (_listen, _) = Running::start(site.reach(listen.arg("listen")).args(["--to", &to]), "online");
        let mut connect = program("tcp_bridge");
        let connect = site.reach(connect.arg("connect")).args(["--bind", "127.0.0.1:0"]);
        let (_connect, address) = Running::start(connect, "listening on ");
        reversed_through(&address);
    }

    #[test]
    fn tcp_bridge_forwards_as_azbridge_does() {
        let site = Site::start();
        let mut remote = program("tcp_bridge");
        let to = reversing();
        let remote = site.reach(remote.arg("forward")).args([
            "-T",
            &format!("one:{to}"),
            "-T",
            &format!("a/two:{to}"),
        ]);
        let (_remote, _) = Running::start(remote, "online");
        for name in ["one", "a/two"] {
            let name: EntityPath = name.parse().unwrap();
            let mut local = program("tcp_bridge");
            let local = site.reach(local.arg("forward")).args(["-L", &format!("127.0.0.1:0:{name}")]);
            let (_local, address) = Running::start(local, "listening on ");
            reversed_until_there(&address);
        }
        let (output, text) =
            run(program("tcp_bridge").args(["forward", "-L", "nonsense", "--connection-string-file", "x"]));
        assert!(output.status.code() == Some(2) && text.contains("HOST:PORT:NAME"), "{text}");
    }

    /// The second forward may come online a moment later than the first.
    fn reversed_until_there(address: &str) {
        for _ in 0..100 {
            let mut stream = TcpStream::connect(address.trim()).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            let mut back = Vec::new();
            let sent = stream.write_all(b"ab").is_ok() && stream.shutdown(Shutdown::Write).is_ok();
            if sent && stream.read_to_end(&mut back).is_ok() && back == b"ba" {
                return reversed_through(address);
            }
            // The example is another process: whether it listens yet can only be tried.
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("nobody listens at {}", Path::new(address).display());
    }
}
