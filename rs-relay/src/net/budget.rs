//! Memory that many connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be held in all.
#[derive(Debug)]
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    #[cfg(feature = "server")]
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What one connection holds of a budget, until it is dropped. Without a budget there is no bound.
#[derive(Debug, Default)]
pub(crate) struct Share {
    of: Option<Arc<Budget>>,
    held: usize,
}

impl Share {
    #[cfg(feature = "server")]
    pub(crate) fn new(of: Arc<Budget>) -> Self {
        Self { of: Some(of), held: 0 }
    }

    /// Holds so many bytes from now on. When the budget does not have them nothing changes.
    #[must_use]
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        if let Some(budget) = &self.of
            && bytes > self.held
            && !budget.take(bytes - self.held)
        {
            return false;
        }
        if bytes < self.held {
            self.give_back(self.held - bytes);
        }
        self.held = bytes;
        true
    }

    /// Holds nothing any more.
    pub(crate) fn release(&mut self) {
        self.give_back(self.held);
        self.held = 0;
    }

    fn give_back(&self, bytes: usize) {
        if let Some(budget) = &self.of {
            budget.give(bytes);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn a_budget_at_and_past_its_end() {
        let budget = Budget::new(100);
        let [mut one, mut other] = [(); 2].map(|()| Share::new(Arc::clone(&budget)));
        assert!(one.hold(60) && other.hold(40), "all of it");
        assert!(!other.hold(41), "one past it");
        assert!(one.hold(59), "one is given back");
        assert!(other.hold(41) && !one.hold(60));
        drop(one);
        assert!(other.hold(100) && !other.hold(101));
        other.release();
        assert_eq!(budget.0.load(Ordering::Relaxed), 100);
        assert!(Share::default().hold(usize::MAX), "without a budget");
    }
}
