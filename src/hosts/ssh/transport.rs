//! `tagship transport SOCKET HOST WORD…`: what rsync starts as its remote shell. It passes the
//! words to the agent through the socket of this transfer, then copies bytes both ways. It knows no
//! host, no key and no secret, and it starts fast: plain threads, no runtime.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use super::wire;

/// The exit code of ssh's own failures; rsync knows it.
const FAILED: u8 = 255;

/// Runs the hidden subcommand; `arguments` are those after `transport`. Returns the exit code of
/// the remote command, or 255.
#[must_use]
pub fn transport_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match carry(arguments.collect()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tagship transport: {error}; the agent ended the transfer");
            ExitCode::from(FAILED)
        }
    }
}

fn carry(arguments: Vec<OsString>) -> io::Result<u8> {
    let [socket, _host, words @ ..] = arguments.as_slice() else {
        return Err(io::Error::other("expected SOCKET HOST WORD…"));
    };
    let agent = UnixStream::connect(socket)?;
    wire::write_words(&agent, words)?;

    let mut to_agent = agent.try_clone()?;
    std::thread::spawn(move || {
        // File descriptors, not `Stdin`: unbuffered, and the kernel may splice.
        if let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() {
            let _ = io::copy(&mut File::from(stdin), &mut to_agent);
        }
        let _ = to_agent.shutdown(Shutdown::Write);
    });

    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    wire::copy_frames(BufReader::with_capacity(64 * 1024, agent), stdout)
}
