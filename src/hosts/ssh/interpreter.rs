//! A shell on a host that runs one script after another. A script costs one round trip, no start of a
//! program, and none of the sessions that the server allows per connection (`MaxSessions`). Each
//! script runs in a subshell of its own, in the home directory, so it leaves nothing to the next
//! one. Used by [`Connection::script`](super::Connection::script); `idle` keeps it between tasks.
//!
//! Before and after each script the shell prints a mark; the one after it goes to both outputs, which
//! may be one. A mark contains a random word, another one for each script, so nothing that any
//! program prints is taken for the begin or the end of a script.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::channel::Open;
use super::inbox::{ChannelEvent, Exit, Stream};
use super::link::Link;
use super::script::COMMAND;

/// A startup file of the login may read the standard input to its end, and until then the shell does
/// not start. So EOF is sent to a shell that has begun no script by then, or within four times what
/// the login took; it is not reused.
const START_TIMEOUT: Duration = Duration::from_secs(3);
const START_PER_LOGIN: u32 = 4;
/// The first byte of a mark; rare in text.
const MARK_BEGINS: u8 = 0x1e;
/// The maximum length of what follows a mark: the exit code and a line break.
const CODE_BYTES_MAX: usize = 8;

/// A shell that is idle, or runs one script.
pub(super) struct Interpreter {
    open: Open,
    /// Its start was requested.
    requested: AtomicBool,
    /// It has begun its first script.
    begun: AtomicBool,
    /// EOF was sent: it runs no further script.
    last: AtomicBool,
}

/// How a script ended.
pub(super) enum ScriptEnd {
    /// The shell is ready for the next one.
    Ended(Exit),
    /// The shell itself ended, and the script with it.
    ShellEnded(Exit),
    /// The connection ended, or the channel closed without a result.
    Lost,
}

impl Interpreter {
    /// Returns one that starts on a new channel with its first script.
    pub(super) fn new(open: Open) -> Self {
        Self {
            open,
            requested: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            last: AtomicBool::new(false),
        }
    }

    pub(super) fn open(&self) -> &Open {
        &self.open
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        self.open.link()
    }

    /// Whether it can run the next script, as far as is known without asking the host.
    pub(super) fn is_ready(&self) -> bool {
        self.link().takes_channels()
            && self.open.inbox().is_quiet()
            && !self.last.load(Ordering::SeqCst)
    }

    /// Runs a script and passes its output on; notifies `sent` when the host has taken the script.
    /// After a future that was dropped before its end, the shell must not be used again.
    pub(super) async fn run(
        &self,
        script: &[u8],
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
        sent: &Notify,
    ) -> ScriptEnd {
        let word = random_word();
        let text = wrapped(script, &word);
        let writing = async {
            // What was received shows whether the host got it.
            let starts = !self.requested.swap(true, Ordering::SeqCst);
            if starts {
                let _ = self.open.start(COMMAND).await;
            }
            let _ = self.open.send(text.as_slice(), |_| ()).await;
            sent.notify_one();
            if starts {
                let slow_host = self.link().login_time * START_PER_LOGIN;
                tokio::time::sleep(slow_host.max(START_TIMEOUT)).await;
                if !self.begun.load(Ordering::SeqCst) {
                    self.last.store(true, Ordering::SeqCst);
                    let _ = self.open.end_input().await;
                }
            }
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            end = self.read_out(&word, on_output) => end,
            never = writing => match never {},
        }
    }

    /// Reads on until the shell has ended, so that its channel counts as closed.
    async fn read_to_end(&self) {
        while let ChannelEvent::Output(..) | ChannelEvent::Exit(_) | ChannelEvent::Eof =
            self.open.next_of(true).await
        {}
    }

    async fn read_out(
        &self,
        word: &str,
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> ScriptEnd {
        let mut first = MarkedOutput::new(word);
        let mut stdout = MarkedOutput::new(word);
        let mut stderr = MarkedOutput::new(word);
        // Where a startup file leads both outputs to one (`exec 2>&1`), the second mark comes there.
        let mut joined = MarkedOutput::new(word);
        let mut shell_exit = None;
        loop {
            match self.open.next_of(shell_exit.is_some()).await {
                ChannelEvent::Output(stream, bytes) => {
                    let written = match stream {
                        Stream::Stdout => {
                            let mut written = first.take(&bytes);
                            if first.code.is_some() {
                                self.begun.store(true, Ordering::SeqCst);
                            }
                            written.extend(stdout.take(&std::mem::take(&mut first.after)));
                            written
                        }
                        Stream::Stderr => stderr.take(&bytes),
                    };
                    if !written.is_empty() {
                        on_output(stream, &written);
                    }
                    joined.take(&std::mem::take(&mut stdout.after));
                    if let (Some(code), Some(_)) = (stdout.code, stderr.code.or(joined.code)) {
                        if self.last.load(Ordering::SeqCst) {
                            self.read_to_end().await;
                        }
                        return ScriptEnd::Ended(Exit::Code(code));
                    }
                }
                ChannelEvent::Exit(exit) => shell_exit = Some(exit),
                ChannelEvent::Eof => {}
                ChannelEvent::Closed => {
                    return shell_exit.map_or(ScriptEnd::Lost, ScriptEnd::ShellEnded);
                }
                ChannelEvent::Lost | ChannelEvent::Overflow => return ScriptEnd::Lost,
            }
        }
    }
}

/// Returns the text that makes the shell run a script between its marks. The subshell starts only
/// once its closing parenthesis was read: a connection that is lost while the text is sent starts
/// nothing. Nothing in it can read the scripts that follow. The shell itself remains in `/`, so an
/// idle one keeps no other file system busy.
fn wrapped(script: &[u8], word: &str) -> Vec<u8> {
    let mark = format!("printf '\\036{word} %s\\n' \"$ts_status\"");
    let begin = format!("printf '\\036{word} 0\\n'\n");
    let mut text = begin.into_bytes();
    text.extend_from_slice(b"cd /\n(cd 2>/dev/null\n");
    text.extend_from_slice(script);
    let end = format!("\n) </dev/null\nts_status=$?\n{mark}\n{mark} >&2\n");
    text.extend_from_slice(end.as_bytes());
    text
}

/// Returns a word that no program on the host can guess.
fn random_word() -> String {
    let mut random = [0; 16];
    // Without randomness it is only unlikely in other output.
    let _ = getrandom::fill(&mut random);
    format!("tagship-end-{:032x}", u128::from_be_bytes(random))
}

/// One output of a script, up to the mark.
struct MarkedOutput {
    mark: Vec<u8>,
    /// What may be the beginning of the mark.
    held: Vec<u8>,
    /// What followed the mark.
    code: Option<u32>,
    /// What came after that line with the last bytes.
    after: Vec<u8>,
}

impl MarkedOutput {
    fn new(word: &str) -> Self {
        let mut mark = vec![MARK_BEGINS];
        mark.extend_from_slice(word.as_bytes());
        mark.push(b' ');
        Self {
            mark,
            held: Vec::new(),
            code: None,
            after: Vec::new(),
        }
    }

    /// Takes the next bytes; returns those that are certainly before the mark.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.code.is_some() {
            self.after = bytes.to_vec();
            return Vec::new();
        }
        let mut written = std::mem::take(&mut self.held);
        written.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(at) = written[from..].iter().position(|b| *b == MARK_BEGINS) {
            let at = from + at;
            let rest = &written[at..];
            if self.mark.starts_with(rest) {
                self.held = written.split_off(at);
                break;
            }
            match rest.strip_prefix(self.mark.as_slice()).map(code) {
                Some(MarkCode::Incomplete) => {
                    self.held = written.split_off(at);
                    break;
                }
                Some(MarkCode::Is(code)) => {
                    self.code = Some(code);
                    let line = written.split_off(at);
                    let after = line.splitn(2, |b| *b == b'\n').nth(1);
                    self.after = after.unwrap_or_default().to_vec();
                    break;
                }
                Some(MarkCode::None) | None => from = at + 1,
            }
        }
        written
    }
}

enum MarkCode {
    Is(u32),
    Incomplete,
    None,
}

/// Reads the exit code after the mark.
fn code(after: &[u8]) -> MarkCode {
    let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
    match after.get(digits) {
        None if digits < CODE_BYTES_MAX => MarkCode::Incomplete,
        Some(b'\n') => std::str::from_utf8(&after[..digits])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .map_or(MarkCode::None, MarkCode::Is),
        _ => MarkCode::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_ends_an_output_however_it_is_cut() {
        let whole = b"line\n\x1e\x1etagship-end-00 1\n\x1ew 17\n";
        for pieces in 1..whole.len() {
            let mut output = MarkedOutput::new("w");
            let mut written = Vec::new();
            for piece in whole.chunks(pieces) {
                written.extend(output.take(piece));
            }
            assert_eq!(output.code, Some(17), "{pieces}");
            assert_eq!(written, b"line\n\x1e\x1etagship-end-00 1\n", "{pieces}");
        }
    }

    #[test]
    fn mark_of_the_other_output_is_found_after_the_first() {
        let whole = b"line\n\x1ew 17\nlate\x1ew 18\n";
        for pieces in 1..=whole.len() {
            let mut output = MarkedOutput::new("w");
            let mut joined = MarkedOutput::new("w");
            for piece in whole.chunks(pieces) {
                output.take(piece);
                joined.take(&std::mem::take(&mut output.after));
            }
            assert_eq!((output.code, joined.code), (Some(17), Some(18)), "{pieces}");
        }
    }

    #[test]
    fn only_what_may_be_the_mark_is_held_back() {
        let mut output = MarkedOutput::new("word");
        assert_eq!(output.take(b"begun\n"), b"begun\n");
        assert_eq!(output.take(b"a\x1ewo"), b"a");
        assert_eq!(output.take(b"nder"), b"\x1ewonder");
        assert_eq!(output.take(b"\x1eword x\n"), b"\x1eword x\n");
        assert_eq!(output.take(b"\x1eword 123456789"), b"\x1eword 123456789");
        assert_eq!(output.code, None);
        assert_eq!(output.take(b"\x1eword 0"), b"");
        assert_eq!(output.take(b"\n"), b"");
        assert_eq!(output.code, Some(0));
        assert_eq!(output.take(b"late\n"), b"");
    }
}
