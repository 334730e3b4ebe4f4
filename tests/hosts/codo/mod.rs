//! What CODO's documents show, on real things: their submissions request by request, their hook as a
//! real `update` hook, an agent of its own process, sshd.

mod script;

mod examples;
mod hook;
mod secrets;
