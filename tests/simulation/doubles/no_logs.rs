//! The output of steps, which the simulation does not keep.

use std::sync::Arc;

use tagship::domain::host::Output;
use tagship::engine::executor::effects::StepLogs;

/// Discarded output.
pub(crate) struct NoLogs;

struct NoOutput;

impl Output for NoOutput {
    fn write_at(&self, _offset: u64, _bytes: &[u8]) {}
    fn line(&self, _text: &str) {}
}

impl StepLogs for NoLogs {
    fn step(&self, _task: u64, _host: &str, _step: &str, _attempt: u32) -> Arc<dyn Output> {
        Arc::new(NoOutput)
    }
}
