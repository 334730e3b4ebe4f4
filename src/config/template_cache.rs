//! Keeps the templates in memory, since every request needs them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;

use super::library::Templates;
use crate::base::mutex::lock;

/// The templates of a directory, read again when a file has changed.
#[derive(Debug)]
pub struct TemplateCache {
    directory: PathBuf,
    read: Mutex<Option<Arc<Templates>>>,
}

impl TemplateCache {
    #[must_use]
    pub fn new(directory: &Path) -> Arc<Self> {
        Arc::new(Self {
            directory: directory.to_owned(),
            read: Mutex::new(None),
        })
    }

    /// Returns the templates as their files are now.
    pub async fn current(self: &Arc<Self>) -> Arc<Templates> {
        let cache = Arc::clone(self);
        let read = match Handle::try_current() {
            // A runtime that is shutting down does not run it.
            Ok(runtime) => runtime.spawn_blocking(move || cache.look()).await.ok(),
            // The simulation has no threads.
            Err(_) => None,
        };
        read.unwrap_or_else(|| self.look())
    }

    fn look(&self) -> Arc<Templates> {
        let mut read = lock(&self.read);
        let current = read.take().filter(|templates| templates.is_current());
        let current = current.unwrap_or_else(|| Arc::new(Templates::load(&self.directory)));
        Arc::clone(read.insert(current))
    }
}
