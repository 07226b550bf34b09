//! The verifier reads a transcript at no less than 0.4 of the speed of plain SHA-256 over the same bytes, and at no less
//! than 200 MB/s on one core, where output fills its records; small records cost a signature each, and that is shown too, as
//! rate and as seconds for 100,000 records, which is what somebody waits for who verifies a long interactive session.
//!
//! `cargo bench --bench verifier`; set `VERIFIER_BOUNDS=1` to fail below the bounds.

use std::time::{Duration, Instant};

use rs_consent::clock::{BootId, Now};
use rs_consent::keys::SigningKey;
use rs_consent::{AccessLevel, Terms};
use rs_session::record::{
    Chain, Content, Digest, Draft, EndContent, FILE_HEADER, OutputContent, OutputData, RecordKeyCertificate,
    SessionIdentity, Signer, StartContent, Trust, Verdict, verify,
};
use sha2::Digest as _;
use uuid::Uuid;

/// Bytes of each transcript.
const BYTES: usize = 64 << 20;
/// Each figure is the best of so many runs: what else the machine does only makes it worse.
const RUNS: usize = 5;
const RATE_MIN: f64 = 200.0;
const RATIO_MIN: f64 = 0.4;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn transcript(output_bytes: usize) -> Vec<u8> {
    let (node, record_key, session) = (key(1), key(2), Uuid::from_u128(7));
    let now = Now {
        wall: chrono::DateTime::UNIX_EPOCH,
        boot: Duration::from_secs(1),
        boot_id: BootId::new(Uuid::from_u128(1)),
    };
    let identity = SessionIdentity {
        session_id: session,
        protocol_version: 1,
        node: rs_consent::party::Node { name: "node-01".parse().expect("valid"), key: node.public() },
        record_key: RecordKeyCertificate::issue(&node, session, record_key.public()),
        engineer: rs_consent::party::Engineer {
            id: "e@example".parse().expect("valid"),
            key: key(3).public(),
        },
        desk: rs_consent::party::Desk { name: "desk.example".parse().expect("valid"), key: key(4).public() },
        support_request: "2611250000000001".parse().expect("valid"),
        assignment_id: Uuid::from_u128(8),
        grant_id: Uuid::from_u128(9),
        terms: Terms::azure_local().agreed(),
        catalog_sha256: Digest::of(b"catalog"),
        access_level: AccessLevel::Diagnostics,
        channel_binding: Digest::of(b"binding"),
        node_log: None,
        scope: None,
    };
    let start = StartContent {
        reason: "a measurement".to_owned(),
        expires_at: now.wall,
        granted_by: "operator@node-01".to_owned(),
        client: "bench".to_owned(),
        assignment: None,
    };
    let mut chain = Chain::new(session);
    let mut file = FILE_HEADER.to_vec();
    let mut push = |draft| {
        let frame = chain.append(draft, &record_key, Signer::Record, [7; 32], &now).expect("valid");
        file.extend(frame.encode());
        file.len()
    };
    push(Draft::start(identity, start).expect("valid"));
    let text = "0123456789abcdef ".repeat(output_bytes / 17 + 1);
    let content = Content::Output(OutputContent {
        invocation: 1,
        data: OutputData::Text(text.get(..output_bytes).unwrap_or(&text).to_owned()),
    });
    while push(Draft::new(&content).expect("valid")) < BYTES {}
    let end = EndContent {
        cause: rs_consent::EndCause::Exit,
        message: String::new(),
        operations: 1,
        last_invocation: Some(1),
        killed_after_us: None,
    };
    push(Draft::new(&Content::End(end)).expect("valid"));
    file
}

fn best(mut run: impl FnMut()) -> f64 {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(|_| time(&mut run)).fold(f64::INFINITY, f64::min)
}

fn main() {
    let node = Trust::Node(key(1).public());
    println!(
        "{:>14} {:>12} {:>12} {:>7} {:>20}",
        "output/record", "verify MB/s", "SHA-256 MB/s", "ratio", "s per 100,000 records"
    );
    let mut holds = true;
    for (output_bytes, bound) in
        [(200, false), (4 << 10, false), (16 << 10, false), (64 << 10, true), (200 << 10, true)]
    {
        let file = transcript(output_bytes);
        let rate = |seconds: f64| file.len() as f64 / seconds / 1e6;
        let mut records = 0;
        let took = best(|| {
            let report = verify(&file[..], node);
            assert_eq!(report.verdict, Verdict::Intact);
            records = report.records;
        });
        let verified = rate(took);
        let hashed = rate(best(|| assert_ne!(sha2::Sha256::digest(&file)[..], [0; 32])));
        let ratio = verified / hashed;
        let each = took / records as f64 * 1e5;
        println!("{output_bytes:>14} {verified:>12.0} {hashed:>12.0} {ratio:>7.2} {each:>20.1}");
        holds &= !bound || (verified >= RATE_MIN && ratio >= RATIO_MIN);
    }
    println!(
        "bounds at 64 KiB and above ({RATE_MIN} MB/s, ratio {RATIO_MIN}): {}",
        if holds { "hold" } else { "do not hold" }
    );
    assert!(holds || std::env::var_os("VERIFIER_BOUNDS").is_none(), "the verifier is too slow");
}
