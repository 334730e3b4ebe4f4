//! Why a reader may not approve, in their language (pure).

use crate::base::language::Language;
use crate::domain::approval::ApprovalRefusal;
use crate::domain::permission::Missing;

/// Returns the words of a refused approval. In English they are those of the command line.
pub(super) fn words(language: Language, refusal: &ApprovalRefusal) -> String {
    let text = match refusal {
        ApprovalRefusal::Right(Missing::Role {
            actor,
            role,
            target,
            needs,
            ..
        }) => {
            let text = match (target.project.as_str(), target.template.as_str()) {
                ("", "") => language.say("refusal-role"),
                ("", template) => language
                    .say("refusal-role-of-template")
                    .with("template", template.to_owned()),
                _ => {
                    let place = target.to_string();
                    let place = place.trim_start_matches(" in ").to_owned();
                    language.say("refusal-role-in").with("place", place)
                }
            };
            text.with("actor", actor.clone())
                .with("role", role.to_string())
                .with("needs", *needs)
        }
        ApprovalRefusal::Right(Missing::Scope {
            actor,
            scopes,
            needs,
            ..
        }) => language
            .say("refusal-scope")
            .with("actor", actor.clone())
            .with("scopes", scopes.to_string())
            .with("needs", needs.to_string()),
        ApprovalRefusal::Local { actor } => {
            language.say("refusal-local").with("actor", actor.clone())
        }
        ApprovalRefusal::SelfApproval { actor } => {
            language.say("refusal-own").with("actor", actor.clone())
        }
        ApprovalRefusal::Twice { actor } => {
            language.say("refusal-twice").with("actor", actor.clone())
        }
        ApprovalRefusal::OtherPlan { seen, now } => language
            .say("refusal-other-plan")
            .with("seen", seen.clone())
            .with("now", now.clone()),
        ApprovalRefusal::NotRequired { actor, required } => language
            .say("refusal-not-asked")
            .with("actor", actor.clone())
            .with("asked", required.clone()),
    };
    text.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::{PermissionTarget, Role, Scope, Scopes};

    #[test]
    fn english_refusals_are_those_of_the_command_line() {
        let actor = || "bob".to_owned();
        let refusals = [
            ApprovalRefusal::Right(Missing::Role {
                actor: actor(),
                role: Role::Viewer,
                target: Box::new(PermissionTarget::new("shop", "qa", "")),
                action: "approve a task",
                needs: "approver",
            }),
            ApprovalRefusal::Right(Missing::Role {
                actor: actor(),
                role: Role::None,
                target: Box::new(PermissionTarget::new("", "", "restart")),
                action: "approve a task",
                needs: "approver",
            }),
            ApprovalRefusal::Right(Missing::Scope {
                actor: actor(),
                scopes: Scopes::default(),
                action: "approve a task",
                needs: Scope::Approve,
            }),
            ApprovalRefusal::Local { actor: actor() },
            ApprovalRefusal::SelfApproval { actor: actor() },
            ApprovalRefusal::Twice { actor: actor() },
            ApprovalRefusal::OtherPlan {
                seen: "a".to_owned(),
                now: "b".to_owned(),
            },
            ApprovalRefusal::NotRequired {
                actor: actor(),
                required: "@pm".to_owned(),
            },
        ];
        for refusal in refusals {
            assert_eq!(words(Language::English, &refusal), refusal.to_string());
            let chinese = words(Language::Chinese, &refusal);
            assert!(!chinese.is_ascii(), "{chinese}");
        }
    }
}
