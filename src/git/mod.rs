//! Repositories: resolve and fetch a tag into the mirror, compare commits, write a commit to disk.
//!
//! Only this room starts git or reads its objects. It never runs code from a repository, never
//! prompts for a password and never writes outside the mirror and the agent's data directory.
//! `engine` calls it through the traits [`landing::Git`] and [`checkout::Checkout`]; `hosts` reads
//! the manifest of a checkout.

/// An exact commit becomes a tree and a manifest.
pub mod checkout;
/// Does the ref stand on the pushed object? Fetch it, pin it, compare it with what is live.
pub mod landing;
