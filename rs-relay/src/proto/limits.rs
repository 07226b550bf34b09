//! Every bound of the protocol core, in one place. Units stand last in the name.

use std::time::Duration;

/// Listeners that may wait on one entity at the same time. Azure allows 25.
pub const LISTENERS_PER_ENTITY_MAX: usize = 25;

/// Entities (hybrid connections) in one namespace. Azure allows 10,000.
pub const ENTITIES_MAX: usize = 10_000;

/// Senders that may wait for a listener at the same time in one namespace. Azure allows 5,000 connections.
pub const WAITING_SENDERS_MAX: usize = 5_000;

/// Listeners, waiting senders and joined connections of one namespace together. Azure allows 5,000.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Authorization rules on the namespace, and again on each entity. Azure allows 12.
pub const RULES_PER_LEVEL_MAX: usize = 12;

/// Length of the name of an authorization rule, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 256;

/// Length of the key text of an authorization rule, in bytes.
pub const KEY_BYTES_MAX: usize = 256;

/// Length of a token, in bytes, before it is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Length of an entity path, in bytes. Azure allows 260 characters.
pub const ENTITY_PATH_BYTES_MAX: usize = 260;

/// Length of a connection string, in bytes.
pub const CONNECTION_STRING_BYTES_MAX: usize = 4 * 1024;

/// Length of a request target (path and query), in bytes.
pub const TARGET_BYTES_MAX: usize = 12 * 1024;

/// Length of the head of an HTTP request, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Length of one control message, in bytes. .NET reads them into a buffer of this size.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Memory of one unfinished control message, in bytes, that is not counted: most messages are shorter.
pub const UNFINISHED_FREE_BYTES: usize = 4 * 1024;

/// Memory of all unfinished control messages together, in bytes, beyond [`UNFINISHED_FREE_BYTES`] of each.
pub const UNFINISHED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Length of all header names and values inside one control message, in bytes.
pub const HEADER_METADATA_BYTES_MAX: usize = 32 * 1024;

/// Headers inside one control message.
pub const HEADERS_MAX: usize = 1000;

/// Nesting of the JSON of a control message.
pub const JSON_DEPTH_MAX: usize = 64;

/// Payload of one frame that is written, in bytes. The Java SDK takes no larger frame.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Length of a reason phrase on a status line, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// Length of a client's own tracking id, in bytes; a longer one is not used.
pub const TRACKING_ID_BYTES_MAX: usize = 128;

/// How long a rendezvous address is good for, and how long a sender waits for a listener.
pub const RENDEZVOUS_WAIT: Duration = Duration::from_secs(30);

/// How long a listener may be late with its renewed token. The official SDKs renew at the expiry, not before it.
pub const TOKEN_PATIENCE: Duration = Duration::from_secs(30);

/// How long a listener may take to answer an HTTP request, and how long its answer may pause.
pub const RESPONSE_WAIT: Duration = Duration::from_secs(60);

/// How long the rendezvous address of an HTTP request is remembered after its sender has left or was given an error.
pub const LATE_WAIT: Duration = Duration::from_secs(90);

/// Such addresses that are remembered.
pub const LATE_RENDEZVOUS_MAX: usize = 5_000;

/// Longest body, in bytes, that goes with an HTTP request over the control channel; a longer one goes over a rendezvous.
pub const INLINE_BODY_BYTES_MAX: usize = 64 * 1024;

/// Longest body of a response, in bytes, that is taken on the control channel. Listeners should bring one above
/// [`INLINE_BODY_BYTES_MAX`] over a rendezvous; some count differently.
pub const CONTROL_BODY_BYTES_MAX: usize = 128 * 1024;

/// How far the clock of an issuer of JSON Web Tokens may be ahead of ours.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
