//! The trait [`Checkout`], and its implementation with the other modules here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;

use super::{CheckoutError, Manifest, PlanRequest, WrittenTree, plan, write_tree};
use crate::base::crash;
use crate::git::landing::damage;

/// The checkout interface for the executor; simulations implement their own.
pub trait Checkout: Send + Sync {
    /// `checkout.plan`: returns a commit's tree as a manifest. It has no visible effect: after a
    /// crash or an error it is repeated, and the same request returns the same manifest.
    fn plan(&self, request: PlanRequest) -> BoxFuture<'_, Result<Arc<Manifest>, CheckoutError>>;

    /// `checkout.write`: makes `dir` equal the manifest. Dropping the future ends it. After a crash
    /// or an error `dir` is between two trees and unverified: nothing may be sent from it until a
    /// later call has succeeded. Always safe to repeat.
    fn write(
        &self,
        mirror: PathBuf,
        manifest: Arc<Manifest>,
        dir: PathBuf,
    ) -> BoxFuture<'_, Result<WrittenTree, CheckoutError>>;
}

/// [`Checkout`] on a real mirror and a real disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct MirrorCheckout;

impl Checkout for MirrorCheckout {
    fn plan(&self, request: PlanRequest) -> BoxFuture<'_, Result<Arc<Manifest>, CheckoutError>> {
        Box::pin(async move {
            crash::before("checkout.plan");
            let mirror = request.mirror.clone();
            let planned = plan(request).await.map(Arc::new);
            crash::after("checkout.plan");
            planned.inspect_err(|error| mark_damage(&mirror, error))
        })
    }

    fn write(
        &self,
        mirror: PathBuf,
        manifest: Arc<Manifest>,
        dir: PathBuf,
    ) -> BoxFuture<'_, Result<WrittenTree, CheckoutError>> {
        Box::pin(async move {
            crash::before("checkout.write");
            let written = write_tree(mirror.clone(), manifest, dir).await;
            crash::after("checkout.write");
            written.inspect_err(|error| mark_damage(&mirror, error))
        })
    }
}

/// Lets the fetch that follows create the mirror again, if that is what helps.
fn mark_damage(mirror: &Path, error: &CheckoutError) {
    if error.is_damage() {
        damage::mark(mirror);
    }
}
