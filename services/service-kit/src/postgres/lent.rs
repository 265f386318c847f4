//! A connection from the pool while something is done on it.

use deadpool_postgres::{ClientWrapper, Object, Pool, PoolError};

/// What comes next on a connection is the answer to what was last asked, if anything comes: one on which something is
/// under way is of no use to anybody else. Dropped before it is [given back](Self::give_back), it is closed.
pub(super) struct Lent(Option<Object>);

impl Lent {
    pub(super) async fn from(pool: &Pool) -> Result<Self, PoolError> {
        pool.get().await.map(|object| Self(Some(object)))
    }

    pub(super) fn client(&mut self) -> &mut ClientWrapper {
        self.0.as_mut().expect("only giving back takes it")
    }

    /// All that was asked has been answered.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
