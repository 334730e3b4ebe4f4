//! Reads periodically the target of `current` and the kept releases of each host. Changes nothing
//! on a host. Stores the result for `tagship live`, pages and rollbacks. Called by the agent. Skips
//! unreachable hosts: a release reports those.

use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{self, StreamExt as _};

use super::World;
use super::step::Silent;
use crate::domain::host::{Op, Reply};
use crate::store::StoreError;

/// How many hosts of one environment are read concurrently.
const PARALLEL: usize = 8;
/// How long a host may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the hosts every `every`, forever; never if that is zero.
pub async fn watch(world: World, every: Duration) {
    if every.is_zero() {
        return std::future::pending().await;
    }
    loop {
        world.clock.pause(every).await;
        check_all(&world).await;
    }
}

/// Reads the hosts once, in every environment where something was switched.
pub async fn check_all(world: &World) {
    match world.store.live_environments().await {
        Ok(environments) => {
            for (project, environment) in environments {
                if let Err(error) = check_environment(world, &project, &environment).await {
                    tracing::warn!(%error, project, environment, "hosts were not looked at");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "hosts were not looked at"),
    }
}

/// Reads every host of an environment with a live release, except disabled ones.
async fn check_environment(
    world: &World,
    project: &str,
    environment: &str,
) -> Result<(), StoreError> {
    let live = world.store.live(project, environment).await?;
    let out = world.store.disabled_hosts().await?;
    // Use the hosts' addresses from the latest task that switched them.
    let Some(latest) = live.values().map(|live| live.switched_by).max() else {
        return Ok(());
    };
    let task = world.store.task(latest).await?;
    let Some(plan) = world.store.plan_of(&task).await? else {
        return Ok(());
    };
    let Some(placement) = &plan.placement else {
        return Ok(());
    };
    let hosts = world.hosts(&plan);
    let there = live
        .iter()
        .filter(|(host, _)| plan.host(host).is_some() && !out.contains(host));
    let looks = there.map(|(host, known)| {
        let hosts = hosts.clone();
        let deploy_to = placement.path_on(host);
        async move {
            let op = Op::Inspect { deploy_to };
            let reply = hosts.perform(host, &op, &Silent);
            let given_up = world.clock.pause(TIMEOUT);
            let Either::Left((Ok(Reply::Inspected(state)), _)) = select(reply, given_up).await
            else {
                return Ok(());
            };
            let now = world.clock.now();
            let target = (project, environment, host.as_str());
            let drift = world
                .store
                .note_host_state(target, known, &state, now)
                .await?;
            if let Some(drift) = drift.filter(|drift| drift.since == now) {
                tracing::warn!(project, environment, host, %drift, "drift");
            }
            Ok(())
        }
    });
    let looks: Vec<_> = looks.collect();
    let seen: Vec<Result<(), StoreError>> = stream::iter(looks)
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    seen.into_iter().collect()
}
