//! What the scripts do on a host, performed by real shells and a real rsync.

#![allow(
    clippy::disallowed_methods,
    reason = "tests measure how long things take"
)]

mod apart;
mod attempt;
mod back;
mod causes;
mod cut;
mod destination;
mod fence;
mod hostile;
mod kept;
mod lend;
mod order;
mod over_ssh;
mod place;
mod release;
mod stop;
