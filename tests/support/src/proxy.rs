//! A TCP proxy on loopback that cuts or stalls connections: at once, or after so
//! many bytes in one direction.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crate::eventually::eventually;

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// What happens to a connection, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Both sides see the end.
    CutAfter(Direction, u64),
    /// Nothing is forwarded any more, without notice to either side.
    StallAfter(Direction, u64),
    /// The connections open then are cut; later ones pass.
    CutOnce(Direction, u64),
    /// The connections open then stall; later ones pass.
    StallOnce(Direction, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Pass,
    Stall,
    Closed,
}

struct Shared {
    mood: Mutex<Mood>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
    fault: Fault,
    passed: Mutex<[u64; 2]>,
    accepted: AtomicU64,
    /// Connections before this one stall.
    stalled: AtomicU64,
}

/// A listening proxy; ends with everything it carries when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn start(server: SocketAddr, fault: Fault) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), server, fault)
    }

    /// Listens on the given address.
    pub fn start_at(address: SocketAddr, server: SocketAddr, fault: Fault) -> Self {
        // A process that was forked a moment ago still holds the listener of an earlier proxy.
        let bound = || TcpListener::bind(address).ok();
        let listener = eventually("the address is free", bound);
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Pass),
            changed: Condvar::new(),
            streams: Mutex::default(),
            fault,
            passed: Mutex::default(),
            accepted: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
        });
        let ours = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, server, &ours));
        Self {
            shared,
            address,
            accepting: Some(accepting),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes the open connections; later ones pass.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// From now on nothing is forwarded.
    pub fn stall(&self) {
        self.shared.set(Mood::Stall);
    }

    /// How many bytes have passed in one direction.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed.lock().unwrap()[direction as usize]
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.set(Mood::Closed);
        self.shared.cut();
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        self.changed.notify_all();
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits while nothing may be forwarded; returns whether the connection continues.
    fn may_pass(&self, connection: u64) -> bool {
        let mood = self.mood.lock().unwrap();
        let waits = |mood: &mut Mood| match mood {
            Mood::Closed => false,
            Mood::Stall => true,
            Mood::Pass => connection < self.stalled.load(Ordering::SeqCst),
        };
        *self.changed.wait_while(mood, waits).unwrap() == Mood::Pass
    }

    fn count(&self, direction: Direction, bytes: usize) {
        let bytes = bytes as u64;
        let passed = {
            let mut passed = self.passed.lock().unwrap();
            passed[direction as usize] += bytes;
            passed[direction as usize]
        };
        let crosses = |limit: u64| passed > limit && passed - bytes <= limit;
        match self.fault {
            Fault::CutAfter(at, limit) if at == direction && passed >= limit => self.cut(),
            Fault::StallAfter(at, limit) if at == direction && passed >= limit => {
                self.set(Mood::Stall);
            }
            Fault::CutOnce(at, limit) if at == direction && crosses(limit) => self.cut(),
            Fault::StallOnce(at, limit) if at == direction && crosses(limit) => {
                let accepted = self.accepted.load(Ordering::SeqCst);
                self.stalled.store(accepted, Ordering::SeqCst);
            }
            Fault::None
            | Fault::CutAfter(..)
            | Fault::StallAfter(..)
            | Fault::CutOnce(..)
            | Fault::StallOnce(..) => {}
        }
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if *shared.mood.lock().unwrap() == Mood::Closed {
            return;
        }
        let Ok(upstream) = TcpStream::connect(server) else {
            continue;
        };
        for stream in [&client, &upstream] {
            stream.set_nodelay(true).unwrap();
            shared
                .streams
                .lock()
                .unwrap()
                .push(stream.try_clone().unwrap());
        }
        let connection = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let ways = [
            (&client, &upstream, Direction::ToServer),
            (&upstream, &client, Direction::ToClient),
        ];
        for (from, to, direction) in ways {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let shared = Arc::clone(shared);
            std::thread::spawn(move || pass(from, to, (connection, direction), &shared));
        }
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    (connection, direction): (u64, Direction),
    shared: &Shared,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !shared.may_pass(connection) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
        shared.count(direction, read);
    }
    let _ = to.shutdown(Shutdown::Write);
}
