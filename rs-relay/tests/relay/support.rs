//! A relay on a free port of the loopback, and clients for it.

use std::sync::Arc;
use std::time::Duration;

use rs_relay::client::{Connector, HybridConnection, Incoming, Listener, RelayStream, Sender, Trust};
use rs_relay::proto::{
    Authority, AuthorizationRule, ConnectionString, Credential, EntityPath, Right, Rules, SharedKey,
};
use rs_relay::server::{DevCertificate, RelayServer, RelayServerBuilder, TlsTransport, dev_certificate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// No test waits longer than this for anything.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) const LISTEN_KEY: &str = "listen key";
pub(crate) const SEND_KEY: &str = "send key";

/// Fails instead of hanging.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it took too long")
}

pub(crate) struct Relay {
    pub(crate) server: RelayServer,
    pub(crate) authority: Authority,
    pub(crate) certificate: Arc<DevCertificate>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    pub(crate) async fn start_with(set: impl FnOnce(RelayServerBuilder) -> RelayServerBuilder) -> Self {
        let certificate = Arc::new(dev_certificate(["localhost", "127.0.0.1"]).unwrap());
        Self::start_at("127.0.0.1:0", certificate, set).await
    }

    pub(crate) async fn start_at(
        address: &str,
        certificate: Arc<DevCertificate>,
        set: impl FnOnce(RelayServerBuilder) -> RelayServerBuilder,
    ) -> Self {
        let transport =
            TlsTransport::bind(address.to_owned(), &certificate.server_pem(), certificate.key_pem())
                .await
                .unwrap();
        let port = transport.local_addr().unwrap().port();
        let authority = Authority::new("localhost", port).unwrap();
        let builder = RelayServer::builder([authority.clone()]).rules(rules());
        let server = set(builder).build().unwrap();
        let serving = server.clone();
        let task = tokio::spawn(async move { serving.serve(transport).await.unwrap() });
        Self { server, authority, certificate, task }
    }

    /// As if the machine had lost power: everything is dropped where it stands.
    pub(crate) async fn kill(self) -> (Authority, Arc<DevCertificate>) {
        self.server.shutdown(Duration::ZERO).await;
        let _ = self.task.await;
        (self.authority, self.certificate)
    }

    pub(crate) fn connector(&self) -> Connector {
        let pem = self.certificate.authority_pem().as_bytes().to_vec();
        Connector::builder().trust(Trust::Only(pem)).build().unwrap()
    }

    pub(crate) fn connection(&self, entity: &str, key_name: &str, key: &str) -> HybridConnection {
        let credential = Credential::Key { name: key_name.parse().unwrap(), key: key.parse().unwrap() };
        let entity: EntityPath = entity.parse().unwrap();
        let text = ConnectionString::new(self.authority.clone(), Some(entity), credential);
        HybridConnection::from_connection_string(&text).unwrap()
    }

    pub(crate) fn sender(&self, entity: &str) -> Sender {
        Sender::new(self.connection(entity, "send", SEND_KEY), self.connector())
    }

    pub(crate) async fn listener(&self, entity: &str) -> Listener {
        let listener =
            Listener::builder(self.connection(entity, "listen", LISTEN_KEY), self.connector()).start();
        assert!(soon(listener.status().online()).await);
        listener
    }

    /// A listener that echoes every connection until its end.
    pub(crate) async fn echo(&self, entity: &str) -> tokio::task::JoinHandle<()> {
        let mut listener = self.listener(entity).await;
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                tokio::spawn(echo(incoming));
            }
        })
    }
}

pub(crate) async fn echo(incoming: Incoming) {
    let stream = incoming.accept().await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
}

pub(crate) fn rules() -> Rules {
    let rule = |name: &str, right, key: &str| {
        AuthorizationRule::new(name.parse().unwrap(), [right], key.parse::<SharedKey>().unwrap())
    };
    Rules::new([rule("listen", Right::Listen, LISTEN_KEY), rule("send", Right::Send, SEND_KEY)]).unwrap()
}

/// Sends, ends the own direction, and reads to the end.
pub(crate) async fn round_trip(stream: &mut RelayStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        writer.write_all(bytes).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut back));
    read.unwrap();
    back
}
