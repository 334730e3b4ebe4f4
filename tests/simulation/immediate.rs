//! Futures that never wait.

use futures::FutureExt as _;

/// The value of a future that is ready at once: those of the memory store are, unless a fault holds
/// them.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    future
        .now_or_never()
        .expect("the store in memory answers at once")
}
