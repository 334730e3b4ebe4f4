//! Reads periodically the target of `current` and the kept releases of each host. Changes nothing
//! on a host. Stores the result for `tagship live`, pages and rollbacks. Called by the agent. Skips
//! unreachable hosts: a release reports those.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{self, StreamExt as _};

use super::World;
use super::step::Silent;
use crate::domain::host::{Op, Reply};
use crate::domain::plan::Plan;
use crate::store::{LiveRelease, StoreError};

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
    let mut unread = world.store.live(project, environment).await?;
    let tasks: BTreeSet<u64> = unread.values().map(|live| live.switched_by).collect();
    let out = world.store.disabled_hosts().await?;
    unread.retain(|host, _| !out.contains(host));
    // The latest task need not have all hosts. Of those with a host, the latest has its address.
    for id in tasks.into_iter().rev() {
        let task = world.store.task(id).await?;
        let Some(plan) = world.store.plan_of(&task).await? else {
            continue;
        };
        let (known, others): (BTreeMap<_, _>, BTreeMap<_, _>) = unread
            .into_iter()
            .partition(|(host, _)| plan.host(host).is_some());
        unread = others;
        check_hosts(world, &plan, &known).await?;
    }
    Ok(())
}

/// Reads these hosts of a plan.
async fn check_hosts(
    world: &World,
    plan: &Plan,
    live: &BTreeMap<String, LiveRelease>,
) -> Result<(), StoreError> {
    let Some(placement) = &plan.placement else {
        return Ok(());
    };
    let (project, environment) = (plan.project.as_str(), plan.environment.as_str());
    let hosts = world.hosts(plan);
    let looks = live.iter().map(|(host, known)| {
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
