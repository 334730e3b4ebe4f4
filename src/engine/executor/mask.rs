//! Replaces the task's secrets in a step's output by asterisks.
//!
//! Every asterisk replaces one byte, so offsets do not change. Output arrives in chunks that may
//! split a secret: the end of a chunk that could begin one is held back until that is decided.

use std::sync::{Arc, Mutex};

use crate::base::mutex::lock;
use crate::domain::host::Output;
use crate::domain::plan::Plan;
use crate::domain::task::{Task, TaskWork};

/// Shorter lines of a multi-line secret are not masked: they would hide harmless text (`}`,
/// `-----`).
const LINE_BYTES_MIN: usize = 8;

/// The secrets of a task, in the forms in which they may occur in its output.
#[derive(Clone)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Returns the values of the task's secret parameters, and the secret outputs of its steps.
    pub(super) fn of(plan: &Plan, task: &Task) -> Self {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let given = plan.secrets.iter();
        let given = given.filter_map(|name| task.submission.secret(name));
        let secret = plan.secret_outputs();
        let handed_on = task.work.iter().flat_map(TaskWork::all_outputs);
        let handed_on = handed_on
            .filter(|(name, _)| secret.contains(name.as_str()))
            .map(|(_, value)| value.as_str());
        for secret in given.chain(handed_on) {
            let lines = secret.lines().map(str::trim);
            let lines = lines.filter(|line| line.len() >= LINE_BYTES_MIN);
            let whole = secret.trim_end_matches(['\r', '\n']);
            parts.extend(lines.chain([whole]).map(|part| part.as_bytes().to_vec()));
        }
        parts.retain(|part| !part.trim_ascii().is_empty());
        parts.sort();
        parts.dedup();
        Self(parts)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text without secrets.
    pub(super) fn mask(&self, text: String) -> String {
        if self.is_empty() {
            return text;
        }
        let mut pending = PendingBytes::default();
        pending.append(text.as_bytes(), &self.0);
        String::from_utf8_lossy(&pending.masked_prefix(pending.bytes.len())).into_owned()
    }

    /// Returns the same output, without secrets.
    pub(super) fn mask_output(self, output: Arc<dyn Output>) -> Arc<dyn Output> {
        if self.is_empty() {
            return output;
        }
        Arc::new(Masked {
            output,
            secrets: self,
            pending: Mutex::default(),
        })
    }
}

struct Masked {
    output: Arc<dyn Output>,
    secrets: Secrets,
    pending: Mutex<PendingBytes>,
}

/// Bytes that were received and are not written yet.
#[derive(Default)]
struct PendingBytes {
    start: u64,
    bytes: Vec<u8>,
    /// For each byte, whether it belongs to a secret.
    secret: Vec<bool>,
}

impl PendingBytes {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn append(&mut self, bytes: &[u8], secrets: &[Vec<u8>]) {
        self.bytes.extend_from_slice(bytes);
        self.secret.resize(self.bytes.len(), false);
        for secret in secrets {
            let found = self.bytes.windows(secret.len()).enumerate();
            let found = found.filter(|(_, window)| window == secret);
            for at in found.map(|(at, _)| at).collect::<Vec<_>>() {
                self.secret[at..at + secret.len()].fill(true);
            }
        }
    }

    /// Masks what may be the end of a secret whose beginning is missing.
    fn mask_partial_ends(&mut self, bytes: &[u8], secrets: &[Vec<u8>]) {
        for secret in secrets {
            let ends = (1..secret.len()).map(|from| &secret[from..]);
            if let Some(end) = ends.into_iter().find(|end| bytes.starts_with(end)) {
                self.secret[..end.len()].fill(true);
            }
        }
    }

    /// Returns how many bytes no later chunk can make part of a secret.
    fn final_length(&self, secrets: &[Vec<u8>]) -> usize {
        let longest = secrets.iter().map(Vec::len).max().unwrap_or(0);
        let from = self.bytes.len().saturating_sub(longest.saturating_sub(1));
        (from..self.bytes.len())
            .find(|at| {
                let end = &self.bytes[*at..];
                secrets
                    .iter()
                    .any(|secret| secret.len() > end.len() && secret.starts_with(end))
            })
            .unwrap_or(self.bytes.len())
    }

    /// Takes the first bytes, masked.
    fn masked_prefix(&self, length: usize) -> Vec<u8> {
        let shown = self.bytes.iter().zip(&self.secret).take(length);
        shown
            .map(|(byte, secret)| if *secret { b'*' } else { *byte })
            .collect()
    }

    fn drop_prefix(&mut self, length: usize) {
        self.bytes.drain(..length);
        self.secret.drain(..length);
        self.start += length as u64;
    }
}

impl Masked {
    fn write(&self, pending: &mut PendingBytes, length: usize) {
        if length > 0 {
            self.output
                .write_at(pending.start, &pending.masked_prefix(length));
            pending.drop_prefix(length);
        }
    }
}

impl Output for Masked {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        let mut pending = lock(&self.pending);
        let cut = pending.end() != offset;
        if cut {
            // The bytes held back could begin a secret whose end is missing.
            pending.secret.fill(true);
            let all = pending.bytes.len();
            self.write(&mut pending, all);
            pending.start = offset;
        }
        pending.append(bytes, &self.secrets.0);
        if cut && offset > 0 {
            pending.mask_partial_ends(bytes, &self.secrets.0);
        }
        let clear = pending.final_length(&self.secrets.0);
        self.write(&mut pending, clear);
    }

    fn line(&self, text: &str) {
        self.output.line(&self.secrets.mask(text.to_owned()));
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut *lock(&self.pending));
        let all = pending.bytes.len();
        self.write(&mut pending, all);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// A file, as outputs write it.
    #[derive(Default)]
    struct File(Mutex<Vec<u8>>);

    impl Output for File {
        fn write_at(&self, offset: u64, bytes: &[u8]) {
            let mut file = self.0.lock().unwrap();
            let offset = usize::try_from(offset).unwrap();
            let end = file.len().max(offset + bytes.len());
            file.resize(end, 0);
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
        }

        fn line(&self, text: &str) {
            self.0.lock().unwrap().extend_from_slice(text.as_bytes());
        }
    }

    fn secrets(values: &[&str]) -> Secrets {
        Secrets(
            values
                .iter()
                .map(|value| value.as_bytes().to_vec())
                .collect(),
        )
    }

    fn written(secrets: &Secrets, text: &str, pieces: &[usize]) -> String {
        let file = Arc::new(File::default());
        let masked = secrets.clone().mask_output(file.clone());
        let mut at = 0;
        for piece in pieces.iter().chain([&text.len()]) {
            let end = (at + piece).min(text.len());
            masked.write_at(at as u64, &text.as_bytes()[at..end]);
            at = end;
        }
        drop(masked);
        let bytes = file.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn nested_secret_reveals_nothing_of_the_outer_one() {
        let secrets = secrets(&["pass", "password1"]);
        assert_eq!(written(&secrets, "a password1 b", &[6]), "a ********* b");
        assert_eq!(written(&secrets, "a passw", &[3, 2]), "a ****w");
    }

    #[test]
    fn possible_secret_prefix_is_held_back() {
        let file = Arc::new(File::default());
        let masked = secrets(&["hunter2"]).mask_output(file.clone());
        masked.write_at(0, b"it is hunt");
        assert_eq!(*file.0.lock().unwrap(), b"it is ");
        masked.write_at(10, b"ers");
        assert_eq!(*file.0.lock().unwrap(), b"it is hunters");
    }

    #[test]
    fn secret_cut_by_missing_output_shows_neither_half() {
        let file = Arc::new(File::default());
        let masked = secrets(&["hunter2"]).mask_output(file.clone());
        masked.write_at(0, b"it is hunt");
        masked.write_at(20, b"nter2 or");
        drop(masked);
        assert_eq!(
            *file.0.lock().unwrap(),
            b"it is ****\0\0\0\0\0\0\0\0\0\0***** or"
        );
    }

    #[test]
    fn a_line_is_masked_too() {
        assert_eq!(secrets(&["a.b"]).mask("x a.b acb".to_owned()), "x *** acb");
    }

    proptest! {
        #[test]
        fn secrets_are_masked_across_any_chunk_boundary(
            values in prop::collection::vec("[a-c]{1,4}", 1..4),
            text in "[a-d]{0,40}",
            pieces in prop::collection::vec(0_usize..5, 0..12),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let secrets = secrets(&values);
            let whole = written(&secrets, &text, &[]);
            prop_assert_eq!(written(&secrets, &text, &pieces), whole.clone());
            prop_assert_eq!(whole.len(), text.len());
            for value in values {
                prop_assert!(!whole.contains(value));
            }
        }
    }
}
