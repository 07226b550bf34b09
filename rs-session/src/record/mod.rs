//! The record of a session: what it is, byte by byte.
//!
//! One session is one **record file**: a 16-byte header and then records in order. Each record has three parts that
//! are kept apart on purpose:
//!
//! * the **skeleton**: who, when, what kind, in which order. It never holds what was typed or shown, so it can stay when
//!   contents are deleted;
//! * a **signature** over the skeleton by the session's own record key, which the node key certifies in record 0;
//! * the **content**: what was typed or shown, with a random salt. The skeleton holds only a salted commitment to it.
//!
//! ```text
//! file    = "RSRECORD" version:u16=1 zero:[u8;6] record*
//! record  = skeleton_length:u32 content_state:u8 zero:[u8;3] content_length:u32
//!           skeleton signature:[u8;64] body
//! body    = (nothing)                                                         in state 0, removed
//!         | salt:[u8;32] content                                              in state 1, present
//!         | key_mark:[u8;8] nonce:[u8;12] sealed(salt content) tag:[u8;16]    in state 2, sealed
//! ```
//!
//! All integers are big-endian. A skeleton is one JSON object (see [`Skeleton`]). The hashes, with `|` for concatenation:
//!
//! ```text
//! link       = SHA-256("remote-support record link v1\0"    | skeleton bytes)
//! previous   = link of the record before; of record 0: SHA-256("remote-support record genesis v1\0" | session id)
//! commitment = SHA-256("remote-support record content v1\0" | salt | content)
//! signature  = Ed25519(record key, "remote-support record head v1\0"    | session id | sequence:u64 | link)
//! receipt    = Ed25519(engineer,   "remote-support record receipt v1\0" | session id | sequence:u64 | link)
//! certificate= Ed25519(node key,   "remote-support record key v1\0"     | session id | record key)
//! ```
//!
//! A **sealed** content is closed with a key that is not in the file. `content_length` is that of the content in it. Chain,
//! signatures and receipts are over the open content through its commitment, so they are the same for both sides, and
//! sealing changes nothing of them; without the key everything but the contents is verified. The key of a session comes
//! from the node's storage key (32 bytes), so nothing else has to be kept beside a record:
//!
//! ```text
//! content key = HKDF-SHA-256(storage key, salt "remote-support storage v1\0", info "content key\0" | session id), 32 bytes
//! key_mark    = HKDF-SHA-256(storage key, salt "remote-support storage v1\0", info "key mark\0"    | session id), 8 bytes
//! sealed      = AES-256-GCM(content key, nonce (random), salt | content,
//!                           associated data "remote-support sealed content v1\0" | session id | link of the record)
//! ```
//!
//! The link stands for the whole skeleton, so a sealed content opens at its own place only. The mark tells another key
//! from damage. An end record that is written after a crash, without what the session held in memory, is in state 1: it
//! holds nothing that was typed or shown, and no key is needed to write it.
//!
//! Every record is signed, so each is a *signed head* of the chain before it, and a fault is located at the very record
//! that it is in. The record key lives in memory only and is gone with the session: whoever takes the node key
//! tomorrow cannot sign yesterday's session again. Only an end record that is written after a crash is signed by the
//! node key itself ([`Signer::Node`]), and nothing may follow it.

mod chain;
mod content;
mod frame;
mod json_text;
#[cfg(feature = "driver")]
mod salvage;
mod sealed;
mod skeleton;
mod verify;

pub use chain::{Chain, ChainError, Checker, Committed, Draft, Fault, HeadSigner, RECEIPTS_MADE_MAX};
pub use content::{
    ApprovalContent, ApprovalStep, ApprovalSubject, Content, EndContent, FinishedContent, InterruptContent,
    NoteContent, OutputContent, OutputData, RefusalContent, RequestContent, StartContent,
};
pub use frame::{
    CONTENT_BYTES_MAX, FILE_HEADER, Frame, FrameError, FrameReader, RECORD_BYTES_MAX, SALT_BYTES,
    SIGNATURE_BYTES, SKELETON_BYTES_MAX, Stored,
};
pub use rs_consent::digest::Sha256 as Digest;
#[cfg(feature = "driver")]
pub(crate) use salvage::whole_records;
pub use sealed::{
    Closed, ContentKey, KEY_MARK_BYTES, NONCE_BYTES, Opener, SEAL_BYTES, SealedContent, Sealer, TAG_BYTES,
    sealed_place,
};
pub use skeleton::{Kind, Receipt, RecordKeyCertificate, SessionIdentity, SignatureText, Signer, Skeleton};
pub use verify::{FINDINGS_MAX, Finding, Report, Trust, Verdict, verify, verify_opened, verify_with};
