//! Invariants that stay checked in release builds (SEC55).
//!
//! A broken one means that the program does not understand its own state any more, so nothing that it says can be relied
//! on. Whoever runs sessions says once, with [`when_broken`], how access is ended then; that comes first, and the process
//! ends after it. Without a handler a broken invariant is a panic. Input can never break one: what comes from outside is
//! answered with errors.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// What must hold at all times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Invariant {
    /// A session runs one line at a time.
    OneLineAtATime = 1,
    /// Records are shown in their order, none twice and none left out.
    ShownInOrder = 2,
    /// A session has one end record, and nothing behind it.
    OneEnd = 3,
}

impl Invariant {
    /// All of them.
    pub const ALL: &[Self] = &[Self::OneLineAtATime, Self::ShownInOrder, Self::OneEnd];

    /// What must hold, in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneLineAtATime => "a session runs one line at a time",
            Self::ShownInOrder => "records are shown in their order, none twice and none left out",
            Self::OneEnd => "a session has one end record, and nothing behind it",
        }
    }
}

type Handler = Box<dyn Fn(Invariant) + Send + Sync>;

static HANDLER: OnceLock<Handler> = OnceLock::new();
/// The invariant that a test wants to see broken.
static TRIPPED: AtomicU8 = AtomicU8::new(0);

/// Says how access is ended when an invariant is broken; the handler should not return. The first one stays.
pub fn when_broken(handler: impl Fn(Invariant) + Send + Sync + 'static) {
    let _first_stays = HANDLER.set(Box::new(handler));
}

/// Makes the next check of `invariant` fail, to test what follows.
#[doc(hidden)]
pub fn trip(invariant: Invariant) {
    TRIPPED.store(invariant as u8, Ordering::SeqCst);
}

/// Checks an invariant.
///
/// # Panics
/// If it is broken, after the handler was called.
#[track_caller]
pub(crate) fn hold(invariant: Invariant, holds: bool) {
    if holds && TRIPPED.load(Ordering::Relaxed) != invariant as u8 {
        return;
    }
    if let Some(handler) = HANDLER.get() {
        handler(invariant);
    }
    panic!("broken invariant: {}", invariant.as_str());
}
