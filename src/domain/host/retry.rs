//! The one retry policy for hosts: the pauses, in seconds, before a request is made again whose
//! connection was lost. Who repeats it depends on what is safe to repeat: an operation is repeated
//! whole by the executor. A program must not start twice, so the connection itself resumes it, by its
//! key and at the offset of its output, which only the connection knows.

/// Before an operation that may be performed twice: all but the start of a program. The executor
/// repeats it (`executor/retry.rs`).
pub const OPERATION_PAUSES_S: [u64; 2] = [1, 2];

/// Before a reconnection to a program that runs (`ssh_host/follow.rs`). They begin again whenever
/// its output has grown. Together with the connection's own timeouts, a host may be unreachable for
/// some minutes.
pub const PROGRAM_PAUSES_S: [u64; 8] = [0, 1, 2, 4, 8, 15, 30, 60];

/// Before a program is followed once more, after all these reconnections failed and its host was
/// asked what has become of it (`step/program.rs`).
pub const FOLLOW_PAUSES_S: [u64; 3] = [1, 2, 3];
