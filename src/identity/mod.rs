//! Authentication: accounts, tokens, second factors, delegations and sessions.
//!
//! Identifies a user and their maximum role. It decides neither whether a request is allowed
//! (`engine::request` does) nor whether an approval counts (`domain::approval` does). It is
//! independent of HTTP and the command line. `server` calls it for each request, `cli` to add the
//! first account.

// Users, roles and tokens.
pub mod account;
// Sessions of browsers and API clients.
pub mod session;
