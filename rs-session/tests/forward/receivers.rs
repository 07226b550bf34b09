//! What the tests of collectors share.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longest time that something may take which takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `look` until it says something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come about within {PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
}
