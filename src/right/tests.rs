#![allow(clippy::unwrap_used)]

use super::*;

/// The page that tells people.
const PAGE: &str = include_str!("../../docs/people.md");

/// The cells of the rows of the table that follows this heading.
fn table(heading: &str) -> Vec<Vec<String>> {
    let after = PAGE.split_once(&format!("## {heading}\n")).unwrap().1;
    let rows = after.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

fn standing_may(role: Role, scopes: &Scopes, ability: Ability) -> Result<(), Missing> {
    let place = Place::default();
    let standing = Standing {
        name: "alice",
        role: role.min(scopes.ceiling()),
        scopes,
        place: &place,
    };
    standing.may(ability, "do it")
}

#[test]
fn who_may_do_what_is_as_the_page_says() {
    let rows = table("Who may do what");
    assert_eq!(rows.len(), Ability::ALL.len());
    for (row, ability) in rows.iter().zip(Ability::ALL) {
        let (scope, yes) = (&row[1], &row[2..]);
        assert_eq!(*scope, format!("`{}`", ability.scope()), "{row:?}");
        assert_eq!(yes.len(), Role::ALL.len(), "{row:?}");
        for (cell, role) in yes.iter().zip(Role::ALL) {
            let may = standing_may(role, &Scopes::default(), ability).is_ok();
            assert_eq!(cell == "yes", may, "{role}: {row:?}");
        }
    }
}

#[test]
fn each_ability_needs_its_scope_whatever_the_role() {
    for ability in Ability::ALL {
        for scope in Scope::ALL {
            let alone: Scopes = [scope].into_iter().collect();
            let may = standing_may(Role::Admin, &alone, ability);
            assert_eq!(may.is_ok(), scope == ability.scope(), "{ability:?} {scope}");
            if let Err(missing) = may {
                let needs = format!("takes the scope {}", ability.scope());
                assert!(missing.to_string().contains(&needs), "{missing}");
            }
            for role in Role::ALL {
                let both = standing_may(role, &alone, ability).is_ok();
                let role_alone = standing_may(role, &Scopes::default(), ability).is_ok();
                assert_eq!(both, role_alone && scope == ability.scope());
            }
        }
    }
}

fn grant(to: &str, role: Role, place: [&str; 3]) -> Grant {
    let [project, environment, template] =
        place.map(|name| (!name.is_empty()).then(|| name.to_owned()));
    Grant {
        to: vec![Grantee::try_from(to.to_owned()).unwrap()],
        role,
        project,
        environment,
        template,
    }
}

/// Each grant × each place: it holds exactly where all that it names is as it says.
#[test]
fn a_grant_holds_where_it_says_and_nowhere_else() {
    let names = ["", "shop", "blog"];
    let environments = ["", "qa", "production"];
    let templates = ["", "git-release", "reload"];
    for project in names {
        for environment in environments {
            for template in templates {
                let granted = [project, environment, template];
                let grants = [grant("alice", Role::Approver, granted)];
                for at_project in names {
                    for at_environment in environments {
                        for at_template in templates {
                            let at = [at_project, at_environment, at_template];
                            let place = Place::new(at_project, at_environment, at_template);
                            let role = role_in(Role::Viewer, "alice", &[], &grants, &place);
                            let fits = granted
                                .iter()
                                .zip(at)
                                .all(|(wanted, there)| wanted.is_empty() || *wanted == there);
                            assert_eq!(role == Role::Approver, fits, "{granted:?} in {at:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_grant_raises_and_never_lowers() {
    let place = Place::new("shop", "qa", "git-release");
    for base in Role::ALL {
        for granted in Role::ALL {
            let grants = [grant("alice", granted, ["shop", "", ""])];
            let role = role_in(base, "alice", &[], &grants, &place);
            assert_eq!(role, base.max(granted));
            assert_eq!(role_in(base, "bob", &[], &grants, &place), base);
        }
    }
}

#[test]
fn a_group_is_granted_to_its_members_and_no_account_of_its_name() {
    let place = Place::default();
    let grants = [grant("@pm", Role::Admin, ["", "", ""])];
    let pm = ["pm".to_owned()];
    assert_eq!(
        role_in(Role::None, "alice", &pm, &grants, &place),
        Role::Admin
    );
    assert_eq!(role_in(Role::None, "pm", &[], &grants, &place), Role::None);
    let grants = [grant("pm", Role::Admin, ["", "", ""])];
    assert_eq!(
        role_in(Role::None, "alice", &pm, &grants, &place),
        Role::None
    );
}

#[test]
fn ones_own_task_takes_less_than_anothers() {
    let place = Place::new("shop", "qa", "");
    let may = |role, scopes: &[Scope], whose| {
        let scopes: Scopes = scopes.iter().copied().collect();
        let standing = Standing {
            name: "alice",
            role,
            scopes: &scopes,
            place: &place,
        };
        standing.may_of(whose, "stop this task")
    };
    let all = &Scope::ALL[..];
    may(Role::Submitter, all, Whose::Own).unwrap();
    may(Role::Approver, &[Scope::Approve], Whose::Own).unwrap();
    let refused = may(Role::Submitter, all, Whose::Others).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "alice has the role submitter in shop qa; to stop this task takes the role approver (or submitter, for what one submitted oneself): ask an admin for it"
    );
    let refused = may(Role::Submitter, &[Scope::Read], Whose::Own).unwrap_err();
    assert!(
        refused.to_string().contains("takes the scope submit"),
        "{refused}"
    );
}

#[test]
fn names_that_nobody_can_have_are_refused() {
    for name in ["", "@", "Alice", "@@pm", "a b", "os:root"] {
        assert!(Grantee::try_from(name.to_owned()).is_err(), "{name}");
    }
}
