//! A shell on a host that performs one script after another. A script costs one round trip, the start of
//! no program, and none of the sessions that the server allows on a connection (`MaxSessions`). Each runs
//! in a subshell of its own, from the home directory: nothing of it is left for the next one. Used by
//! [`Connection::script`], kept by `idle` while no task needs it.
//!
//! The shell says on both outputs that a script has ended, by a mark with a random word in it, so that
//! what a script writes is never taken for its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::channel::Open;
use super::inbox::{ChannelEvent, Exit, Stream};
use super::link::Link;
use super::script::COMMAND;

/// A startup file of the login may wait for the end of the standard input, and the shell begins never: so
/// long after its first script was sent that end is said. A shell that works then is not used again.
const FIRST_SCRIPT: Duration = Duration::from_secs(3);
/// Begins the mark at the end of a script's output; seldom a part of any text.
const MARK_BEGINS: u8 = 0x1e;
/// After the mark: the exit code and a line break.
const CODE_BYTES_MAX: usize = 8;

/// A shell that waits for a script, or performs one.
pub(super) struct Interpreter {
    open: Open,
    begun: AtomicBool,
    /// It was told that no further script will come.
    last: AtomicBool,
    word: String,
}

/// What became of a script.
pub(super) enum ScriptEnd {
    /// It ran to its end, and the shell waits for the next one.
    Ended(Exit),
    /// The shell itself ended, and with it whatever ran.
    ShellEnded(Exit),
    /// The connection ended, or the channel without a result.
    Lost,
}

impl Interpreter {
    /// One that is started on a new channel by its first script.
    pub(super) fn new(open: Open) -> Self {
        Self {
            open,
            begun: AtomicBool::new(false),
            last: AtomicBool::new(false),
            word: random_word(),
        }
    }

    pub(super) fn open(&self) -> &Open {
        &self.open
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        self.open.link()
    }

    /// Whether the next script may be given to it, as far as can be known without asking the host.
    pub(super) fn is_ready(&self) -> bool {
        self.link().takes_channels()
            && self.open.inbox().is_quiet()
            && !self.last.load(Ordering::SeqCst)
    }

    /// Performs a script and hands on what it writes. A future that is dropped before its end leaves a
    /// shell that is not to be used again.
    pub(super) async fn perform(
        &self,
        script: &[u8],
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> ScriptEnd {
        let text = self.wrapped(script);
        let writing = async {
            // Whether the host got it shows in what comes back.
            let begins = !self.begun.swap(true, Ordering::SeqCst);
            if begins {
                let _ = self.open.start(COMMAND).await;
            }
            let _ = self.open.send(text.as_slice(), |_| ()).await;
            if begins {
                tokio::time::sleep(FIRST_SCRIPT).await;
                self.last.store(true, Ordering::SeqCst);
                let _ = self.open.end_input().await;
            }
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            performed = self.read_out(on_output) => performed,
            never = writing => match never {},
        }
    }

    /// The subshell is performed only once its closing parenthesis was read: a connection that is cut
    /// while the text travels starts nothing. Nothing in it reads the scripts that follow. The shell
    /// itself stays in the root, so that it keeps no file system busy while it waits.
    fn wrapped(&self, script: &[u8]) -> Vec<u8> {
        let mark = format!("printf '\\036{} %s\\n' \"$ts_status\"", self.word);
        let mut text = b"cd /\n(cd 2>/dev/null\n".to_vec();
        text.extend_from_slice(script);
        text.extend_from_slice(
            format!("\n) </dev/null\nts_status=$?\n{mark}\n{mark} >&2\n").as_bytes(),
        );
        text
    }

    /// So that its channel counts as closed.
    async fn see_it_end(&self) {
        while let ChannelEvent::Output(..) | ChannelEvent::Exit(_) | ChannelEvent::Eof =
            self.open.next_of(true).await
        {}
    }

    async fn read_out(&self, on_output: &mut (dyn FnMut(Stream, &[u8]) + Send)) -> ScriptEnd {
        let mut stdout = MarkedOutput::new(&self.word);
        let mut stderr = MarkedOutput::new(&self.word);
        let mut shell_exit = None;
        loop {
            match self.open.next_of(shell_exit.is_some()).await {
                ChannelEvent::Output(stream, bytes) => {
                    let output = match stream {
                        Stream::Stdout => &mut stdout,
                        Stream::Stderr => &mut stderr,
                    };
                    let written = output.take(&bytes);
                    if !written.is_empty() {
                        on_output(stream, &written);
                    }
                    if let (Some(code), Some(_)) = (stdout.code, stderr.code) {
                        if self.last.load(Ordering::SeqCst) {
                            self.see_it_end().await;
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

/// No program on the host can guess it.
fn random_word() -> String {
    let mut random = [0; 16];
    // Without randomness the word is only unlikely.
    let _ = getrandom::fill(&mut random);
    format!("tagship-end-{:032x}", u128::from_be_bytes(random))
}

/// One output of a script, up to the mark at its end.
struct MarkedOutput {
    mark: Vec<u8>,
    /// What may be the beginning of the mark.
    held: Vec<u8>,
    code: Option<u32>,
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
        }
    }

    /// Takes the next bytes; returns those of which it is certain by now that the script wrote them.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
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
                    written.truncate(at);
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

/// The exit code that follows the mark.
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
    }
}
