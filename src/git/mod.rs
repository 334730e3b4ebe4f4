//! Repositories: resolve and fetch a tag into the mirror, compare commits, write a commit to disk.
//!
//! Only this module runs git or reads its objects. It never runs code from a repository, prompts
//! for a password or writes outside the mirror and the agent's data directory. `engine` calls it
//! through the traits [`landing::Git`] and [`checkout::Checkout`]; `hosts` reads a checkout's
//! manifest; `setup` checks repositories.

// Turns an exact commit into a tree and a manifest.
pub mod checkout;
// Verifies a pushed ref, fetches and pins its object, and compares it with what is live.
pub mod landing;
mod lock;
// What git takes an entry of a tree for.
mod tree_mode;
