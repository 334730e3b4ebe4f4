//! Who sends a request: accounts, tokens, second factors, delegations and sessions.
//!
//! It identifies a person and says which role they have at most. It never decides whether a request
//! is granted (`engine::request` does) or an approval counts (`domain::approval` does), and knows
//! neither HTTP nor the command line. `server` calls it for each request, `cli` to add the first
//! account.

/// People, roles and tokens.
pub mod account;
/// Who is on the other end of a browser or an API client.
pub mod session;
