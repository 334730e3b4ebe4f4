//! A filter that matched nothing: says so if the agent knows no such project or environment, and asks
//! for the name that was probably meant.

use std::collections::BTreeSet;

use super::client::{ApiRequest, Client};
use super::error::{ClientError, CommandError};
use crate::api::LiveList;

/// Who knows the names of an error.
const AGENT_KNOWS: &str = "the agent knows";

/// The project and the environment of a filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaceFilter<'a> {
    pub(crate) project: Option<&'a str>,
    pub(crate) environment: Option<&'a str>,
}

/// Checks the names of a filter that matched nothing in `list`: `tasks` or `hooks`. A name that an
/// entry of the list has is known, also if the configuration does not have it any more.
///
/// # Errors
/// One of the names is unknown, or the agent gives no answer.
pub(crate) async fn check(
    client: &Client,
    list: &str,
    filter: PlaceFilter<'_>,
) -> Result<(), CommandError> {
    let PlaceFilter {
        project,
        environment,
    } = filter;
    if project.is_none() && environment.is_none() {
        return Ok(());
    }
    let live: LiveList = match client.ask(&ApiRequest::get(["live"])).await {
        // An older agent lacks this URL, so nothing is known.
        Err(ClientError::Refused(_)) => return Ok(()),
        live => live?,
    };
    let projects: BTreeSet<&str> = live
        .live
        .iter()
        .map(|place| place.project.as_str())
        .collect();
    let environments: BTreeSet<&str> = live
        .live
        .iter()
        .filter(|place| project.is_none_or(|project| place.project == project))
        .map(|place| place.environment.as_str())
        .collect();
    for (what, name, known) in [
        ("project", project, projects),
        ("environment", environment, environments),
    ] {
        let Some(name) = name.filter(|name| !known.contains(name)) else {
            continue;
        };
        // The name of a former project has no environments to compare with.
        if has_entry(client, list, what, name).await? {
            return Ok(());
        }
        let known: Vec<&str> = known.into_iter().collect();
        return Err(CommandError::no_name(what, name, AGENT_KNOWS, &known));
    }
    Ok(())
}

/// Whether a list has an entry with this value.
async fn has_entry(
    client: &Client,
    list: &str,
    field: &'static str,
    value: &str,
) -> Result<bool, ClientError> {
    let ask = ApiRequest::get([list])
        .with(field, Some(value))
        .with("limit", Some(1));
    let found = client.json(&ask).await?;
    let is_empty = found[list].as_array().is_none_or(Vec::is_empty);
    // A short page may have a next one.
    Ok(!is_empty || found["next"].is_string())
}
