//! What the tests of records share: a session's chain with known keys, made in memory.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "each test file uses its own part"
)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rs_consent::clock::{BootId, ManualClock, Now};
use rs_consent::keys::SigningKey;
use rs_consent::party::{Desk, Engineer, Node};
use rs_consent::terms::Terms;
use rs_consent::{AccessLevel, EndCause};
use rs_session::record::{
    Chain, Content, Digest, Draft, EndContent, FILE_HEADER, Frame, OutputContent, OutputData, Receipt,
    RecordKeyCertificate, RequestContent, SessionIdentity, Signer, StartContent,
};
use uuid::Uuid;

/// The key that `seed` makes; the parties of a [`Story`] have 1 (node), 2 (desk), 3 (engineer) and 4 (record).
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

/// The keys of one session's parties.
pub(crate) struct Parties {
    pub(crate) node: SigningKey,
    pub(crate) desk: SigningKey,
    pub(crate) engineer: SigningKey,
    pub(crate) record: SigningKey,
    pub(crate) session: Uuid,
}

impl Parties {
    pub(crate) fn new() -> Self {
        Self { node: key(1), desk: key(2), engineer: key(3), record: key(4), session: Uuid::from_u128(7) }
    }

    pub(crate) fn identity(&self) -> SessionIdentity {
        SessionIdentity {
            session_id: self.session,
            protocol_version: 1,
            node: Node { name: "node-01".parse().unwrap(), key: self.node.public() },
            record_key: RecordKeyCertificate::issue(&self.node, self.session, self.record.public()),
            engineer: Engineer {
                id: "engineer@support.example".parse().unwrap(),
                key: self.engineer.public(),
            },
            desk: Desk { name: "support.example".parse().unwrap(), key: self.desk.public() },
            support_request: "2611250000000001".parse().unwrap(),
            assignment_id: Uuid::from_u128(8),
            grant_id: Uuid::from_u128(9),
            terms: Terms::azure_local().agreed(),
            catalog_sha256: Digest::of(b"catalog"),
            access_level: AccessLevel::Diagnostics,
            scope: None,
            channel_binding: Digest::of(b"binding"),
            node_log: None,
        }
    }
}

/// The moment `seconds` after the start of the test's world.
pub(crate) fn at(seconds: u64) -> Now {
    let start: DateTime<Utc> = "2026-11-25T10:00:00Z".parse().unwrap();
    Now {
        wall: start + TimeDelta::seconds(i64::try_from(seconds).unwrap()),
        boot: Duration::from_secs(1000 + seconds),
        boot_id: BootId::new(Uuid::from_u128(1)),
    }
}

/// A clock that stands `seconds` after the start of the test's world.
pub(crate) fn clock(seconds: u64) -> ManualClock {
    ManualClock::new(at(seconds).wall)
}

/// A chain that is written step by step.
pub(crate) struct Story {
    pub(crate) parties: Parties,
    pub(crate) chain: Chain,
    pub(crate) frames: Vec<Frame>,
}

impl Story {
    pub(crate) fn begin() -> Self {
        Self::begin_as(Uuid::from_u128(7))
    }

    /// As [`Story::begin`], with an id for the session.
    pub(crate) fn begin_as(session: Uuid) -> Self {
        let parties = Parties { session, ..Parties::new() };
        let chain = Chain::new(parties.session);
        let mut story = Self { parties, chain, frames: Vec::new() };
        let content = StartContent {
            reason: "the volume does not mount".to_owned(),
            expires_at: at(28_800).wall,
            granted_by: "operator@node-01".to_owned(),
            client: "test/1".to_owned(),
            assignment: None,
        };
        story.push(Draft::start(story.parties.identity(), content).unwrap());
        story
    }

    /// A session with a line, its output, a receipt and an end.
    pub(crate) fn whole() -> Self {
        let mut story = Self::begin();
        story.request(1, "Get-Process");
        story.output(1, "Id Name\n-- ----\n 1 init\n");
        story.receipt();
        story.end(EndCause::Exit);
        story
    }

    pub(crate) fn push(&mut self, draft: Draft) {
        let number = self.chain.next_sequence();
        let salt = [u8::try_from(number).unwrap_or(255); 32];
        let frame =
            self.chain.append(draft, &self.parties.record, Signer::Record, salt, &at(number)).unwrap();
        self.frames.push(frame);
    }

    pub(crate) fn add(&mut self, content: &Content) {
        self.push(Draft::new(content).unwrap());
    }

    pub(crate) fn request(&mut self, invocation: u64, line: &str) {
        self.add(&Content::Request(RequestContent {
            invocation,
            line: line.to_owned(),
            plan: serde_json::json!([{ "operation": line }]),
            access_level: AccessLevel::Diagnostics,
        }));
    }

    pub(crate) fn output(&mut self, invocation: u64, text: &str) {
        self.add(&Content::Output(OutputContent { invocation, data: OutputData::Text(text.to_owned()) }));
    }

    pub(crate) fn receipt(&mut self) {
        let sequence = self.chain.next_sequence() - 1;
        let receipt =
            Receipt::sign(&self.parties.engineer, self.parties.session, sequence, self.chain.head());
        self.push(Draft::receipt(receipt));
    }

    pub(crate) fn end(&mut self, cause: EndCause) {
        self.add(&Content::End(EndContent {
            cause,
            message: "over".to_owned(),
            operations: 1,
            last_invocation: Some(1),
            killed_after_us: None,
        }));
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        file(&self.frames)
    }
}

/// Frames as a record file.
pub(crate) fn file(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = FILE_HEADER.to_vec();
    for frame in frames {
        bytes.extend(frame.encode());
    }
    bytes
}
