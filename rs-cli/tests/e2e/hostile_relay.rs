//! The relay reads, changes, answers itself and replays. It can cut the stream; it cannot do more.

use std::io::Write;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rs_cli::state::Role;
use rs_consent::party::{Desk, Engineer};
use rs_consent::{Assignment, EndCause, Envelope, SigningKey};
use rs_relay::client::{HybridConnection, Listener, Sender};
use rs_relay::proto::ConnectionString;
use rs_session::client::{Client, ClientEvent, ConnectError, Credentials};
use rs_session::protocol::Form;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::daemon::until_true;
use crate::records;
use crate::site::{Site, files};
use crate::tap::{Flip, TappedRelay, Way, credentials, newest_assignment, reach};

/// How many bytes of each way are flipped, spread over the stream.
const SAMPLES: usize = 100;
/// A session in which nothing comes for so long is given up by the test: a relay that flips a length makes one side
/// wait for bytes that never come, which is a cut stream by another name.
const SILENCE: Duration = Duration::from_secs(5);
/// What the engineer of these tests types.
const LINES: [&str; 4] = ["Get-Canary1", "Get-Date", "Get-Canary2", "Get-Canary3"];

/// A machine whose relay is tapped, ready for engineers.
fn tapped() -> (TappedRelay, Site) {
    let mut site = Site::empty();
    let relay = TappedRelay::start(&site);
    site.start_agent();
    site.papers();
    site.machine.enable("Diagnostics");
    site.connected();
    (relay, site)
}

#[test]
fn sec13_the_relay_sees_nothing_of_what_is_typed_and_printed() {
    let mut site = Site::empty();
    let relay = TappedRelay::start(&site);
    site.start_agent();
    let reason = "canary-reason";
    let run = site.machine.run(&format!("request submit --reason {reason} --file request.json"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    for line in
        ["desk init", "desk open", "engineer init", "desk assign --engineer canary-engineer@support.example"]
    {
        site.machine.json(line);
    }
    site.machine.enable("Diagnostics");
    site.connected();
    // A process whose name will be printed.
    let script = site.machine.file("canaryPrinted");
    std::fs::write(&script, "#!/bin/sh\nread -r nothing\n").expect("own directory");
    crate::machine::chmod(&script, 0o700);
    let mut printed = std::process::Command::new(&script).stdin(Stdio::piped()).spawn().expect("a shell");
    let run = site.machine.run_args([
        "connect",
        "--command",
        "Get-Process -Name canaryPrint* | Select-Object ProcessName",
        "--command",
        "Get-CanaryTyped",
    ]);
    drop(printed.stdin.take());
    printed.wait().expect("own process");
    assert!(run.stdout.contains("canaryPrinted"), "inside, the canaries are there: {}", run.stdout);
    let record = records::opened(&site.records()[0]);
    let (_, assignment) = newest_assignment(&site);
    let number = assignment.request.to_string();
    let canaries = [
        reason,
        "canaryPrinted",
        "canaryPrint*",
        "Get-CanaryTyped",
        "canary-engineer",
        number.as_str(),
        "ssignment",
    ];
    for canary in &canaries[..6] {
        assert!(
            record.windows(canary.len()).any(|part| part == canary.as_bytes()),
            "control: {canary} is on record"
        );
    }
    println!("the relay's operator saw {} bytes", relay.operator.bytes());
    assert!(relay.operator.bytes() > record.len(), "all of the record went by");
    for canary in canaries {
        assert!(!relay.operator.saw(canary.as_bytes()), "{canary}");
    }
}

#[test]
fn sec13_control_what_goes_through_the_relay_unprotected_is_seen_and_a_flip_arrives() {
    let site = Site::empty();
    let relay = TappedRelay::start(&site);
    let (connection, connector) = reach(&site, "listen");
    let canary = b"canary in the clear, long enough to be split over several frames if it were".repeat(20);
    relay.runtime.block_on(async {
        let mut listener = Listener::builder(connection, connector).start();
        assert!(listener.status().online().await);
        let (connection, connector) = reach(&site, "send");
        for flip in [None, Some(Flip { way: Way::ToNode, at: 500, mask: 4 })] {
            relay.operator.plan(flip);
            let sender = Sender::new(connection.clone(), connector.clone());
            let (sent, accepted) = tokio::join!(sender.connect(), async {
                listener.accept().await.expect("a sender").accept().await
            });
            let (mut sent, mut accepted) = (sent.expect("joined"), accepted.expect("joined"));
            sent.write_all(&canary).await.expect("sent");
            sent.shutdown().await.expect("sent");
            let mut came = Vec::new();
            accepted.read_to_end(&mut came).await.expect("whole");
            let differing: Vec<usize> = (0..canary.len()).filter(|at| came[*at] != canary[*at]).collect();
            assert_eq!(differing, flip.map_or(vec![], |flip| vec![flip.at]));
            assert_eq!(relay.operator.has_flipped(), flip.is_some());
            assert_eq!(relay.operator.relayed(Way::ToNode), canary);
        }
    });
    assert!(relay.operator.saw(b"canary in the clear"));
}

/// What an engineer's client has kept.
#[derive(Clone, Default)]
struct Copy(Arc<Mutex<Vec<u8>>>);

impl Write for Copy {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How an engineer's session went.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    /// To its end record.
    Complete(EndCause),
    /// It broke, with this error.
    Broken(String),
    /// Nothing came any more.
    Silent,
}

/// One session of the engineer with the real key and assignment.
async fn session(site: &Site, copy: Copy) -> Went {
    let (connection, connector) = reach(site, "send");
    let credentials = credentials(site);
    let work = async {
        let stream = Sender::new(connection, connector).connect().await.map_err(|error| error.to_string())?;
        let connected = Client::connect(stream, credentials, "test/1", Some(Box::new(copy)));
        let mut client = connected.await.map_err(|error| error.to_string())?;
        let mut lines = LINES.iter();
        let mut wanted = 0;
        loop {
            if wanted == 0 {
                match lines.next() {
                    Some(line) => {
                        client.invoke(line, Form::Text, None).await.map_err(|error| error.to_string())?;
                    }
                    None => client.bye().await.map_err(|error| error.to_string())?,
                }
                wanted = 1;
            }
            let next = tokio::time::timeout(SILENCE, client.next()).await;
            let Ok(event) = next else { return Ok(Went::Silent) };
            match event.map_err(|error| error.to_string())? {
                ClientEvent::Ended { cause, .. } => {
                    let _ = client.close().await;
                    return Ok(Went::Complete(cause));
                }
                ClientEvent::Record { content: Some(content), .. } => {
                    use rs_session::record::Content;
                    if matches!(content, Content::Refusal(_) | Content::Finished(_)) {
                        wanted = 0;
                    }
                }
                _ => {}
            }
        }
    };
    match tokio::time::timeout(4 * SILENCE, work).await {
        Ok(Ok(went)) => went,
        Ok(Err(error)) => Went::Broken(error),
        Err(_) => Went::Silent,
    }
}

/// What a flip led to.
struct Outcome {
    went: Went,
    flipped: bool,
}

/// A session with one flipped bit: checks that nothing altered was taken by either side.
fn flipped(relay: &TappedRelay, site: &Site, flip: Option<Flip>) -> Outcome {
    let before = site.records();
    relay.operator.plan(flip);
    let copy = Copy::default();
    let went = relay.runtime.block_on(session(site, copy.clone()));
    until_true("the relay has forgotten it", || relay.operator.is_idle());
    until_true("the node has no session any more", || site.status().sessions.is_empty());
    let new: Vec<_> = site.records().into_iter().filter(|path| !before.contains(path)).collect();
    assert!(new.len() <= 1);
    let shown = copy.0.lock().expect("no panic").clone();
    match new.first() {
        Some(path) => {
            let record = records::opened(path);
            assert_eq!(
                records::is_prefix(&shown, &record),
                Ok(()),
                "{flip:?}: the engineer took what is not on record"
            );
            let typed = records::lines(path);
            assert!(LINES.iter().zip(&typed).all(|(line, typed)| line == typed), "{flip:?}: {typed:?}");
            assert_eq!(records::ends(path).len(), 1, "{flip:?}");
            let exit = records::ends(path) == [EndCause::Exit];
            assert!(!exit || typed.len() == LINES.len(), "{flip:?}: complete, and yet not all was typed");
        }
        None => assert!(shown.is_empty(), "{flip:?}: shown without a record"),
    }
    Outcome { went, flipped: relay.operator.has_flipped() }
}

/// Length of the head of a TLS record: its type, two bytes of version, two of length.
const TLS_HEAD: usize = 5;

/// Whether a byte of a stream of TLS records protects nothing: type and version of a record, which TLS 1.3 keeps for old
/// machines in between and which say nothing (the true type is encrypted), and the last record, the goodbye behind the
/// end record.
fn makes_no_difference(stream: &[u8], at: usize) -> bool {
    let mut start = 0;
    while let Some(head) = stream.get(start..start + TLS_HEAD) {
        let end = start + TLS_HEAD + usize::from(u16::from_be_bytes([head[3], head[4]]));
        if (start..end).contains(&at) {
            return at < start + 3 || end == stream.len();
        }
        start = end;
    }
    panic!("not in the stream: {at}");
}

#[test]
fn what_makes_no_difference_is_little() {
    let stream = [&[22, 3, 1, 0, 2, 7, 7][..], &[23, 3, 3, 0, 1, 7], &[23, 3, 3, 0, 1, 7]].concat();
    let harmless: Vec<usize> = (0..stream.len()).filter(|at| makes_no_difference(&stream, *at)).collect();
    assert_eq!(harmless, [0, 1, 2, 7, 8, 9, 13, 14, 15, 16, 17, 18]);
}

#[test]
fn sec13_any_flipped_byte_ends_the_session_and_none_is_taken() {
    let (relay, site) = tapped();
    // The shortest of three: how many receipts there are depends on how fast the machine is just then.
    let mut lengths = [(Way::ToEngineer, usize::MAX), (Way::ToNode, usize::MAX)];
    for _ in 0..3 {
        assert_eq!(
            flipped(&relay, &site, None).went,
            Went::Complete(EndCause::Exit),
            "control: an honest relay"
        );
        for (way, length) in &mut lengths {
            *length = relay.operator.relayed(*way).len().min(*length);
        }
    }
    let (mut broken, mut silent, mut complete, mut missed) = (0, 0, 0, 0);
    for (way, length) in lengths {
        for sample in 0..SAMPLES {
            let at = sample * length / SAMPLES;
            let outcome = flipped(&relay, &site, Some(Flip { way, at, mask: 1 << (sample % 8) }));
            match outcome.went {
                _ if !outcome.flipped => missed += 1,
                Went::Broken(_) => broken += 1,
                Went::Silent => silent += 1,
                Went::Complete(cause) => {
                    assert_eq!(cause, EndCause::Exit);
                    complete += 1;
                    let stream = relay.operator.relayed(way);
                    assert!(makes_no_difference(&stream, at), "{way:?}: byte {at} of {}", stream.len());
                }
            }
        }
    }
    println!(
        "{} of {} and {} of {} bytes flipped: {broken} sessions broken, {silent} fell silent, {complete} in bytes that say nothing, \
         {missed} ended before the place was reached; 0 altered bytes taken",
        SAMPLES, lengths[0].1, SAMPLES, lengths[1].1
    );
    assert!(broken > SAMPLES, "most of what was planned was done");
    assert_eq!(flipped(&relay, &site, None).went, Went::Complete(EndCause::Exit), "and the node still works");
}

#[test]
fn sec16_what_the_relay_recorded_opens_nothing_when_it_is_replayed() {
    let (relay, site) = tapped();
    relay.operator.plan(None);
    assert_eq!(relay.runtime.block_on(session(&site, Copy::default())), Went::Complete(EndCause::Exit));
    let recorded = relay.operator.relayed(Way::ToNode);
    let (connection, connector) = reach(&site, "send");
    let answered = relay.runtime.block_on(async {
        let mut stream = Sender::new(connection, connector).connect().await.expect("the relay joins");
        // The node may hang up before it has all of it.
        let _ = stream.write_all(&recorded).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer.len()
    });
    println!("{} bytes replayed, {answered} came back", recorded.len());
    assert_eq!(site.records().len(), 1, "no second session");
    until_true("the recorded session is over", || site.status().sessions.is_empty());
}

/// Somebody with all keys of the relay, and with what anybody can know: the node's public key.
fn thief(site: &Site, side: &str) -> (HybridConnection, rs_relay::client::Connector) {
    let (_, connector) = reach(site, side);
    let rules = std::fs::read_to_string(site.role(Role::Relay).join("rules.json")).expect("a file");
    let rules: serde_json::Value = serde_json::from_str(&rules).expect("JSON");
    let own = std::fs::read_to_string(site.role(Role::Relay).join("send.connection-string")).expect("a file");
    let own: ConnectionString = own.trim().parse().expect("a connection string");
    let text = format!(
        "Endpoint=sb://{}/;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey={};EntityPath={}",
        own.authority(),
        rules["rootKey"].as_str().expect("a key"),
        rules["entity"].as_str().expect("a name")
    );
    let text: ConnectionString = text.parse().expect("a connection string");
    (HybridConnection::from_connection_string(&text).expect("an entity"), connector)
}

#[test]
fn sec15_all_keys_of_the_relay_and_no_other_open_no_session() {
    let site = Site::ready();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_, real) = newest_assignment(&site);
    let own = SigningKey::generate().expect("a key");
    let forged = Assignment {
        desk: Desk { key: own.public(), ..real.desk.clone() },
        engineer: Engineer { key: own.public(), ..real.engineer.clone() },
        ..real.clone()
    };
    let with = |assignment: &Assignment, by: &SigningKey| Envelope::sign(assignment, by).expect("signed");
    let named_as_the_desk = Assignment { engineer: forged.engineer.clone(), ..real.clone() };
    for (what, assignment) in [
        ("signed by a desk of their own", with(&forged, &own)),
        ("in the desk's name", with(&named_as_the_desk, &own)),
    ] {
        let credentials = Credentials {
            engineer: Arc::new(
                SigningKey::from_pkcs8_pem(&own.to_pkcs8_pem().expect("text")).expect("a key"),
            ),
            assignment,
            assignment_id: real.id,
            node: real.node.key,
        };
        let (connection, connector) = thief(&site, "send");
        let refused = runtime.block_on(async {
            let stream = Sender::new(connection, connector).connect().await.expect("the root key joins");
            Client::connect(stream, credentials, "test/1", None).await
        });
        let Err(ConnectError::Refused { code, .. }) = refused else { panic!("{what}: {refused:?}") };
        println!("{what}: {code}");
    }
    // Bytes that are no handshake.
    let (connection, connector) = thief(&site, "send");
    runtime.block_on(async {
        let mut stream = Sender::new(connection, connector).connect().await.expect("the root key joins");
        let _ = stream.write_all(&[0x16; 4096]).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    assert!(site.records().is_empty() && site.status().sessions.is_empty());
    assert_eq!(site.connect("").code, 0, "and the engineer gets in as before");
}

#[test]
fn sec13_a_relay_that_answers_in_the_nodes_place_learns_nothing_and_shows_nothing() {
    let mut site = Site::ready();
    site.agent().kill9();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (connection, connector) = thief(&site, "listen");
    let own = Arc::new(SigningKey::generate().expect("a key"));
    let mut listener = runtime.block_on(async { Listener::builder(connection, connector).start() });
    assert!(runtime.block_on(listener.status().online()));
    let heard = runtime.spawn(async move {
        let mut heard = Vec::new();
        while let Some(incoming) = listener.accept().await {
            let stream = incoming.accept().await.expect("a stream");
            // The session's own handshake, with a key that is not the node's.
            let channel = rs_session::channel::Channel::accept(stream, &own).await;
            heard.push(channel.is_ok());
            if heard.len() == 1 {
                break;
            }
        }
        heard
    });
    let run = site.connect("");
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(
        run.stderr.contains("no trusted channel to the node"),
        "{} RELAY {} {}",
        run.stderr,
        site.relay().has_ended(),
        site.relay().stderr()
    );
    assert_eq!(run.stdout, "");
    assert!(files(&site.role(Role::Engineer).join("received")).is_empty());
    assert_eq!(runtime.block_on(heard).expect("no panic"), [false], "the engineer proved nothing to it");
}
