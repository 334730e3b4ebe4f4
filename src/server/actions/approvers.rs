//! Finds who can give a missing approval, by name, so that users know whom to ask.

use super::super::Site;
use super::super::authentication;
use super::super::fault::Fault;
use crate::api::CAN_APPROVE_MAX;
use crate::domain::approval::{self, ApprovalRequest};
use crate::domain::task::{State, Task};
use crate::identity::account::Status;

/// Returns the accounts whose approval would count now, by name; at most [`CAN_APPROVE_MAX`].
pub(super) async fn who_can_approve(site: &Site, task: &Task) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    let Some(landed) = task
        .landed
        .as_ref()
        .filter(|_| task.state == State::Waiting)
    else {
        return Ok(names);
    };
    for account in site.web.accounts.list().await? {
        if account.status != Status::Active {
            continue;
        }
        let name = account.name.clone();
        let actor = authentication::as_account(site, account)
            .await?
            .at(&task.target());
        let request = ApprovalRequest {
            actor: &actor,
            plan: &landed.terms.plan,
            comment: "",
            not_before: None,
            emergency: None,
            at: site.web.clock.now(),
        };
        if approval::approve(&landed.terms, &task.approvals, &request).is_ok() {
            names.push(name);
        }
        if names.len() == CAN_APPROVE_MAX {
            break;
        }
    }
    Ok(names)
}
