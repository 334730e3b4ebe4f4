#![allow(clippy::unwrap_used)]

use super::*;

/// The page for users.
const PAGE: &str = include_str!("../../../docs/people.md");

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

fn effective_may(role: Role, scopes: &Scopes, ability: Ability) -> Result<(), Missing> {
    let target = PermissionTarget::default();
    let effective = EffectiveRole {
        name: "alice",
        role: role.min(scopes.ceiling()),
        scopes,
        target: &target,
    };
    effective.may(ability, "do it")
}

#[test]
fn permissions_match_the_documented_table() {
    let rows = table("Who may do what");
    assert_eq!(rows.len(), Ability::ALL.len());
    for (row, ability) in rows.iter().zip(Ability::ALL) {
        let (scope, yes) = (&row[1], &row[2..]);
        assert_eq!(*scope, format!("`{}`", ability.scope()), "{row:?}");
        assert_eq!(yes.len(), Role::ALL.len(), "{row:?}");
        for (cell, role) in yes.iter().zip(Role::ALL) {
            let may = effective_may(role, &Scopes::default(), ability).is_ok();
            assert_eq!(cell == "yes", may, "{role}: {row:?}");
        }
    }
}

#[test]
fn each_ability_requires_its_scope_for_every_role() {
    for ability in Ability::ALL {
        for scope in Scope::ALL {
            let alone: Scopes = [scope].into_iter().collect();
            let may = effective_may(Role::Admin, &alone, ability);
            assert_eq!(may.is_ok(), scope == ability.scope(), "{ability:?} {scope}");
            if let Err(missing) = may {
                let needs = format!("requires the scope {}", ability.scope());
                assert!(missing.to_string().contains(&needs), "{missing}");
            }
            for role in Role::ALL {
                let both = effective_may(role, &alone, ability).is_ok();
                let role_alone = effective_may(role, &Scopes::default(), ability).is_ok();
                assert_eq!(both, role_alone && scope == ability.scope());
            }
        }
    }
}

fn grant(to: &str, role: Role, target: [&str; 3]) -> Grant {
    let [project, environment, template] =
        target.map(|name| (!name.is_empty()).then(|| name.to_owned()));
    Grant {
        to: vec![Grantee::try_from(to.to_owned()).unwrap()],
        role,
        project,
        environment,
        template,
    }
}

/// Each grant × each target: a grant applies exactly where every name in it matches.
#[test]
fn grant_applies_only_to_its_target() {
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
                            let target =
                                PermissionTarget::new(at_project, at_environment, at_template);
                            let role = role_in(Role::Viewer, "alice", &[], &grants, &target);
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
    let target = PermissionTarget::new("shop", "qa", "git-release");
    for base in Role::ALL {
        for granted in Role::ALL {
            let grants = [grant("alice", granted, ["shop", "", ""])];
            let role = role_in(base, "alice", &[], &grants, &target);
            assert_eq!(role, base.max(granted));
            assert_eq!(role_in(base, "bob", &[], &grants, &target), base);
        }
    }
}

#[test]
fn group_grant_applies_only_to_its_members() {
    let target = PermissionTarget::default();
    let grants = [grant("@pm", Role::Admin, ["", "", ""])];
    let pm = ["pm".to_owned()];
    assert_eq!(
        role_in(Role::None, "alice", &pm, &grants, &target),
        Role::Admin
    );
    assert_eq!(role_in(Role::None, "pm", &[], &grants, &target), Role::None);
    let grants = [grant("pm", Role::Admin, ["", "", ""])];
    assert_eq!(
        role_in(Role::None, "alice", &pm, &grants, &target),
        Role::None
    );
}

#[test]
fn own_task_requires_a_lower_role_than_anothers() {
    let target = PermissionTarget::new("shop", "qa", "");
    let may = |role, scopes: &[Scope], ownership| {
        let scopes: Scopes = scopes.iter().copied().collect();
        let effective = EffectiveRole {
            name: "alice",
            role,
            scopes: &scopes,
            target: &target,
        };
        effective.may_of(ownership, "stop this task")
    };
    let all = &Scope::ALL[..];
    may(Role::Submitter, all, Ownership::Own).unwrap();
    may(Role::Approver, &[Scope::Approve], Ownership::Own).unwrap();
    let refused = may(Role::Submitter, all, Ownership::Others).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "alice has the role submitter in shop qa; to stop this task requires the role approver (or submitter, for their own tasks): ask an admin for it"
    );
    let refused = may(Role::Submitter, &[Scope::Read], Ownership::Own).unwrap_err();
    assert!(
        refused.to_string().contains("requires the scope submit"),
        "{refused}"
    );
}

#[test]
fn impossible_grantee_names_are_refused() {
    for name in ["", "@", "Alice", "@@pm", "a b", "os:root"] {
        assert!(Grantee::try_from(name.to_owned()).is_err(), "{name}");
    }
}

#[test]
fn roles_and_scopes_parse_only_their_display_names() {
    for role in Role::ALL {
        assert_eq!(role.to_string().parse::<Role>(), Ok(role));
    }
    for scope in Scope::ALL {
        assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
    }
    for name in ["", "Admin", "root"] {
        assert_eq!(name.parse::<Role>(), Err(UnknownRole(name.to_owned())));
        assert_eq!(name.parse::<Scope>(), Err(UnknownScope(name.to_owned())));
    }
}

#[test]
fn scope_set_permits_what_its_highest_scope_permits() {
    let set = |scopes: &[Scope]| scopes.iter().copied().collect::<Scopes>();
    assert_eq!(set(&[]).ceiling(), Role::None);
    assert_eq!(set(&[Scope::Read]).ceiling(), Role::Viewer);
    assert_eq!(set(&[Scope::Submit]).ceiling(), Role::Submitter);
    assert_eq!(
        set(&[Scope::Approve, Scope::Read]).ceiling(),
        Role::Approver
    );
    assert_eq!(set(&Scope::ALL).ceiling(), Role::Admin);
}

#[test]
fn scope_subset_is_recognized() {
    let set = |scopes: &[Scope]| scopes.iter().copied().collect::<Scopes>();
    let reads = set(&[Scope::Read]);
    let all = Scopes::default();
    assert!(reads.are_within(&all) && set(&[]).are_within(&reads));
    assert!(!all.are_within(&reads) && !set(&[Scope::Submit]).are_within(&reads));
    assert!(set(&[]).is_empty() && !reads.is_empty());
    assert_eq!(all.iter().collect::<Vec<_>>(), Scope::ALL);
    assert_eq!(set(&[]).to_string(), "none");
    assert_eq!(reads.to_string(), "read");
    assert_eq!(all.to_string(), "read, submit, approve, admin");
}

#[test]
fn highest_role_considers_only_the_users_own_grants() {
    let grants = [
        grant("alice", Role::Approver, ["shop", "qa", ""]),
        grant("@pm", Role::Submitter, ["blog", "", ""]),
        grant("bob", Role::Admin, ["", "", ""]),
    ];
    let pm = ["pm".to_owned()];
    let most = |name, groups: &[String]| role_anywhere(Role::Viewer, name, groups, &grants);
    assert_eq!(most("alice", &[]), Role::Approver);
    assert_eq!(most("carol", &pm), Role::Submitter);
    assert_eq!(most("carol", &[]), Role::Viewer);
    assert_eq!(
        role_anywhere(Role::Admin, "alice", &[], &grants),
        Role::Admin
    );
}

#[test]
fn permission_target_displays_only_its_set_parts() {
    for (target, expected) in [
        (["", "", ""], ""),
        (["shop", "", ""], " in shop"),
        (["shop", "qa", ""], " in shop qa"),
        (["shop", "qa", "reload"], " in shop qa (template reload)"),
        (["", "", "reload"], " (template reload)"),
    ] {
        let [project, environment, template] = target;
        let target = PermissionTarget::new(project, environment, template);
        assert_eq!(target.to_string(), expected);
    }
}

#[test]
fn a_name_is_short_and_plain_and_begins_with_no_dot() {
    let longest = "a".repeat(NAME_CHARACTERS_MAX);
    for name in ["a", "alice", "0.x_y-z", &longest] {
        assert!(is_name(name), "{name}");
    }
    let too_long = format!("{longest}a");
    for name in ["", ".alice", "Alice", "a b", "al\u{ef}ce", "a/b", &too_long] {
        assert!(!is_name(name), "{name}");
    }
}

#[test]
fn a_grant_names_a_template_by_its_name_or_its_number() {
    let template = |text: &str| {
        let grant = format!("to = [\"alice\"]\nrole = \"viewer\"\n{text}");
        toml::from_str::<Grant>(&grant).map(|grant| grant.template)
    };
    assert_eq!(template(""), Ok(None));
    assert_eq!(
        template("template = \"reload\""),
        Ok(Some("reload".to_owned()))
    );
    assert_eq!(template("template = 7"), Ok(Some("7".to_owned())));
    assert!(template("template = -7").is_err());
    assert!(template("template = [7]").is_err());
}

#[test]
fn refusal_names_the_required_role() {
    for (ability, needs) in [
        (Ability::See, "viewer"),
        (Ability::Submit, "submitter"),
        (Ability::Own, "submitter"),
        (Ability::Approve, "approver"),
        (Ability::Run, "approver"),
        (Ability::Manage, "admin"),
    ] {
        let target = PermissionTarget::default();
        let effective = EffectiveRole {
            name: "alice",
            role: Role::None,
            scopes: &Scopes::default(),
            target: &target,
        };
        let refused = effective.may(ability, "do it").unwrap_err().to_string();
        let expected = format!("alice has the role none; to do it requires the role {needs}:");
        assert!(refused.starts_with(&expected), "{refused}");
    }
}

#[test]
fn refusal_names_the_missing_token_scope() {
    let target = PermissionTarget::default();
    let effective = EffectiveRole {
        name: "alice",
        role: Role::Submitter,
        scopes: &[Scope::Submit].into_iter().collect(),
        target: &target,
    };
    effective.may_of(Ownership::Own, "stop this task").unwrap();
    let refused = effective.may_of(Ownership::Others, "stop this task");
    assert_eq!(
        refused.unwrap_err().to_string(),
        "this token of alice has the scopes submit; to stop this task requires the scope approve: create a token with it"
    );
}

#[test]
fn refusal_asks_for_the_lowest_sufficient_role() {
    let target = PermissionTarget::default();
    let effective = EffectiveRole {
        name: "alice",
        role: Role::Viewer,
        scopes: &Scope::ALL.into_iter().collect(),
        target: &target,
    };
    for (ownership, expected) in [
        (Ownership::Own, "requires the role submitter:"),
        (
            Ownership::Others,
            "requires the role approver (or submitter, for",
        ),
    ] {
        let refused = effective.may_of(ownership, "stop this task").unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}

/// Each role × each set of scopes × own and other tasks: the error names what is missing.
#[test]
fn refusal_never_asks_for_a_scope_the_token_has() {
    let target = PermissionTarget::default();
    for role in Role::ALL {
        for which in 0..1_u8 << Scope::ALL.len() {
            let chosen = Scope::ALL.into_iter().enumerate();
            let scopes: Scopes = chosen
                .filter(|(index, _)| which & (1 << index) != 0)
                .map(|(_, scope)| scope)
                .collect();
            let effective = EffectiveRole {
                name: "alice",
                role,
                scopes: &scopes,
                target: &target,
            };
            for ownership in [Ownership::Own, Ownership::Others] {
                let refused = effective.may_of(ownership, "stop this task");
                if let Err(Missing::Scope { needs, .. }) = refused {
                    assert!(!scopes.has(needs), "{role} with {scopes}: {needs}");
                }
            }
        }
    }
}
