# Text of the pages in English. `zh.ftl` has the same ids in the same order.

## On every page

skip-to-content = Skip to content
nav-pages = Pages
nav-board = Board
nav-tasks = Tasks
nav-submit = Submit
nav-hooks = Hook log
nav-hosts = Hosts
nav-templates = Templates
nav-users = Users
nav-account = Password, tokens and language
log-out = Log out
disabled-hosts = Disabled hosts:
times-are-in = Times are in { $zone }.
back = Back
commits = { $count ->
    [one] { $count } commit
   *[other] { $count } commits
}

## Login

login-title = Log in to tagship
tagline = Push a tag, ship it.
login-name = Name
password = Password
log-in = Log in
code = Code
login-enter-code = Enter the code from your authenticator app, { $name }.
login-start-over = Start over.
login-lost-app = If you lost the app, ask an admin to reset your second factor.
login-wrong-password = The name or the password is wrong.
login-wrong-code = The code is wrong, or was used before. Wait for the next one.
login-too-many = Too many failed logins. Try again after { $until }.
login-cookie-lost = The login was correct, but your browser did not send its cookie back. Since [agent] public_url is { $url }, the cookie is only for https: open { $url }{ $path }. To allow logins over plain http, set public_url to the http address that users open, and restart the agent.
login-again = Log in again. If you just did, your browser keeps no cookies for { $host }: allow them for this site, or open { $url }{ $path }.
login-plain-http = This page was opened over plain http, where a login is lost: [agent] public_url is { $url }, so its cookie is only for https. Open { $url }{ $path }, or set public_url to the http address that users open, and restart the agent.

## Refusals

fault-forbidden = Permission denied
fault-not-found = Not found
fault-conflict = Not possible now
fault-busy = Try again later
fault-internal = Internal error
fault-invalid = Invalid request

## Lists and filters

find-search = Search
find-clear = Clear
find-all = all
find-since = Since
find-until = Until
find-newest = Newest
find-more = More
find-none-yet = No match so far; continue with More.
link-task = task { $id }
optional = optional

## Users

users-title = Users
users-name = Name
users-display = Display name
users-role = Role
users-groups = Groups
users-groups-hint = Separate several groups by commas.
users-factor = Second factor
users-factor-on = on
users-factor-off = off
users-status = Status
users-active = active
users-disabled = disabled
users-created = Created
users-add = Add a user
users-password-hint = Without a password, the user can only use tokens.
users-add-button = Add user
user-role-none = none (only grants count)
user-role-viewer = viewer
user-role-submitter = submitter
user-role-approver = approver
user-role-admin = admin

## One user

user-tokens = Tokens
user-tokens-none = There are no tokens.
user-token-new = New token, shown only once:
user-token-label = Label
user-token-id = ID
user-token-scopes = Scopes
user-token-created = Created
user-token-expires = Expires
user-token-never = never
user-token-revoke = Revoke
user-token-revoke-one = Revoke the token { $name }
user-token-add = Create a token
user-token-create = Create token
user-token-limited = A token can do no more than the role of its user.
user-scope-read = see tasks, logs and hosts
user-scope-submit = submit tasks
user-scope-approve = approve, run, stop and roll back
user-scope-admin = manage users and hosts, and this account
user-time-zone = Time zone { $zone }
user-password = Password
user-password-current = Current password
user-password-new = New password
user-ends-sessions = Ends all sessions; tokens stay valid.
user-password-set = Set password
user-language = Language
user-language-hint = For the pages. It is kept in your account.
user-language-save = Save
user-factor = Second factor
user-factor-add = Add this secret to an authenticator app, then enter the code from the app. The secret is shown only once.
user-factor-qr = QR code for an authenticator app
user-factor-open = Open in the app on this device
user-factor-type = To type in:
user-factor-then = Each login then requires a code. Ends all sessions; tokens stay valid.
user-factor-enable = Enable
user-factor-wrong = The code does not match the secret that was shown last. Enter the app's current code. If that fails, check the phone's clock and set up a new secret.
user-factor-again = Set up a new secret
user-factor-since = Enabled since { $since }: each login requires a code.
user-factor-reset = Reset…
user-factor-reset-now = Reset second factor
user-factor-none = Not enabled: the password is enough.
user-factor-begin = Set up second factor
user-delegations = Delegations
user-delegations-none = There are no delegations.
user-delegation = { $to } may approve on behalf of { $from }.
user-delegation-until = Until
user-delegation-project = Project
user-delegation-by = Created by
user-delegation-what = Delegation
user-delegation-end = End
user-delegation-end-one = End the delegation from { $from } to { $to }
user-delegate = Delegate approvals
user-delegate-to = Delegate to
user-delegate-all = all projects
user-rights = Role and groups
user-rights-save = Save
user-access = Access
user-is-disabled = { $name } is disabled: password, sessions and tokens are refused.
user-enable = Enable { $name }
user-disable-what = Ends all sessions, and refuses password and tokens until { $name } is enabled again.
user-disable = Disable { $name }
user-remove = Remove { $name }…
user-remove-now = Remove { $name } and all tokens

## Hook log

hooks-title = Hook log
hooks-about = Every tag push that the hook reported, and its outcome.
hooks-unseen = tags that the hook did not report are not detected since { $since } (last attempt { $at }): { $cause }
hooks-unseen-of = { $project }: { $problem }
hooks-filter = Filter pushes
hooks-project = Project
hooks-outcome = Outcome
hooks-ref = Ref contains
hooks-pusher = Pusher
hooks-none = No pushes found.
hooks-pages = More pushes
hook-entry = entry { $id }
hook-unreadable = Unreadable file
hook-outcome = Outcome
hook-replay = Replay
hook-replay-what = Applies the current rules to this push. The push starts a new task or joins its unfinished one.
hook-replays = Replays
hook-replayed-by = By { $name }, { $at }
hook-details = Details
hook-received = Received
hook-pushed = Pushed (git server's clock)
hook-repository = Repository
hook-ref = Ref
hook-from = From
hook-to = To
hook-owner = File owner
hook-owner-uid = UID { $uid }
hook-record = Record ID
hook-file = File
hook-doubted = The tag is checked again for these tasks:
hook-outcome-proposed = proposed
hook-outcome-joined = joined
hook-outcome-duplicate = duplicate
hook-outcome-no-rule = no rule
hook-outcome-deleted = deleted
hook-outcome-unknown-repository = unknown repository
hook-outcome-unreadable = unreadable
hook-outcome-refused = refused
hook-result-proposed = a new task was proposed
hook-result-joined = it joined the unfinished task of the same push
hook-result-duplicate = this record was processed before
hook-result-no-rule = no rule matches; nothing is released
hook-result-deleted = the tag was deleted; nothing is started
hook-result-unknown = no configured project has this repository
hook-result-unreadable = the file could not be read, and is kept in the spool's bad/: { $reason }

## Hosts

hosts-title = Hosts
hosts-live = Live releases
hosts-no-project = No projects are configured.
hosts-release = Release
hosts-commit = Commit
hosts-task = Task
hosts-by = By
hosts-since = Since
hosts-on = Hosts
hosts-nothing = no release
hosts-foreign = not made by tagship
hosts-restored = restored by task { $id }
hosts-roll-back = Roll back…
hosts-all = Configured hosts
hosts-none = No hosts are configured.
hosts-name = Name
hosts-address = Address
hosts-groups = Groups
hosts-state = State
hosts-enabled = enabled
hosts-disabled = disabled
hosts-disabled-by = By { $name } since { $since }: { $reason }
hosts-enable = Enable { $name }
hosts-disable-ask = Disable…
hosts-disable = Disable { $name }
hosts-reason = Reason

## Templates

templates-title = Templates
templates-about = Templates define the stages and steps of tasks. The agent reloads their files when they change.
templates-invalid = Invalid files:
templates-none = There are no templates.
template-number = number { $id }
template-required = { $name } (required)
template-title = Template { $name }
template-current = Current version
template-on = on { $hosts }
template-gate-hand = manual gate
template-gate-timed = timed gate
template-batch = { $count } at a time
template-outputs = outputs { $outputs }
template-output = { $name } from { $step }
template-output-secret = { $name } (a secret) from { $step }
template-params = Parameters
template-param = Name
template-param-needed = Required
template-param-default = Default
template-param-allowed = Allowed
template-yes = yes
template-no = no
template-pattern = pattern
template-gone = The file is missing or invalid: new tasks cannot use this template. Versions that tasks used are kept.
template-changes = Changes
template-from-to = From { $from } to { $to }
template-no-changes = There are no changes.
template-itself = the template
template-versions = Versions used by tasks
template-version = Version
template-first-used = First used
template-compare = Compare
template-versions-none = No task has used it yet.
template-is-current = current
template-compare-current = Compare with the current one
template-compare-previous = Compare with the previous one
template-text-current = Current text
template-text = Text
template-no-version = no task used a version { $digest } of template { $name }

## Submit

submit-title = Submit a task
submit-nothing = Nothing was submitted.
submit-correct = Correct these fields and submit again:
submit-copied = Copied from task { $id }, without secrets and start time.
submit-choose-other = Choose another template
submit-name = Title
submit-environment = Environment
submit-choose = choose
submit-place-by-rule = { $project }, environment by the tag's rule
submit-tag = Tag
submit-must-match = must match { $pattern }
submit-hosts = Hosts { $number }
submit-host-disabled = { $address }, disabled: { $reason }
submit-names = Names or addresses
submit-other-hosts = Other hosts
submit-commas = Separate several by commas.
submit-start = Start no earlier than
submit-start-hint = In the time zone { $zone }.
submit-approval = Approval
submit-approval-required = required
submit-approval-not-required = not required
submit-approvers = Request approval from
submit-remarks = Remarks
submit-button = Submit
submit-choose-template = Choose a template
submit-no-template = There is no template that you may use.
submit-json = Submit JSON
submit-json-what = As for { $request }, or for CODO's API.
submit-json-label = JSON
submit-not-json = is not JSON: { $problem }
submit-unknown-template = there is no template { $name }; choose another one
submit-unknown-field = the form has an unknown field { $name }; reload its page

## Rollback

rollback-title = Roll back { $project } { $environment }
rollback-live = Live now
rollback-target = Rollback target
rollback-task = Task
rollback-release = Release
rollback-commit = Commit
rollback-by = Released by
rollback-at = Created
rollback-hosts = Hosts
rollback-host = Host
rollback-origin = Origin
rollback-foreign = not made by tagship
rollback-as-it-is = Each release is used as it is: nothing is built. If it is gone, the task fails before any host switches.
rollback-is-live = This release is already live: the rollback changes nothing.
rollback-what = The rollback runs before queued tasks. The commands of the switching stage (reload, check) run again.
rollback-to = Roll back to { $release }
rollback-to-each = Roll back to these releases
rollback-others = Or roll back to what another tool left live:
rollback-cancel = Cancel
rollback-not-seen = `seen` is not what the page sends; load the page again
user-delegation-endless = the end of the delegation is missing; go back and add it

## Audit

nav-audit = Audit
audit-title = Audit
audit-about = Who did what, newest first. Refused requests are here, too.
audit-filter = Filter entries
audit-by = Person
audit-what = Action
audit-task = Task number
audit-on = Host, environment or user
audit-time = Time
audit-object = Object
audit-result = Result
audit-from = From
audit-done = done
audit-refused = refused
audit-none = No entries found.
audit-pages = More entries
audit-not-a-task = { $text } is not the number of a task; write 7
audit-action-approve = approve
audit-action-approve-in-an-emergency = approve in an emergency
audit-action-reject = reject
audit-action-withdraw = withdraw
audit-action-stop = stop
audit-action-skip = skip
audit-action-override-freeze = override-freeze
audit-action-retry = retry
audit-action-resume = resume
audit-action-submit = submit
audit-action-roll-back = roll back
audit-action-roll-back-in-an-emergency = roll back in an emergency
audit-action-replay-push = replay push
audit-action-disable-host = disable host
audit-action-enable-host = enable host
audit-action-add-user = add user
audit-action-change-user = change user
audit-action-remove-user = remove user
audit-action-set-password = set password
audit-action-make-token = make token
audit-action-revoke-token = revoke token
audit-action-begin-second-factor = begin second factor
audit-action-confirm-second-factor = confirm second factor
audit-action-reset-second-factor = reset second factor
audit-action-delegate = delegate
audit-action-end-delegation = end delegation
audit-action-log-in = log in
audit-action-log-in-for-codos-api = log in for CODO's API
audit-action-take-backup = take backup
audit-action-restore = restore

## Project

project-hook = Hook
project-heard = The hook last reported a push at { $at }.
project-never-heard = The hook has not reported a push yet.
project-pushes = Pushes of this project
project-tasks = Tasks of this project
project-frozen = Frozen until { $until }: { $name }
project-releases = Releases
project-releases-none = Nothing was released here yet.
project-release = Release
project-commit = Commit
project-task = Task
project-by = By
project-created = Created
project-kept = Kept on
project-not-kept = no host known
project-live = live
project-failed = did not succeed
project-foreign = not made by tagship
project-roll-back = Roll back
project-roll-back-to = Roll back to { $release }
project-compare = Compare two releases
project-compare-button = Compare
project-compare-from = From
project-compare-to = To
project-compared = What came between { $from } and { $to }
project-compared-what = The page of each task shows its commits and files.
project-compared-none = No other release lies between them.
project-freezes = Freeze calendar
project-freezes-none = No freeze is configured for this project.
project-freeze = Freeze
project-freeze-when = When
project-freeze-where = Environments
project-freeze-why = Reason
project-freeze-everywhere = all
project-freeze-once = { $from } to { $until }
project-freeze-daily = { $days }, { $from } to { $until }
project-freeze-weekly = { $first } { $from } to { $last } { $until }
project-days = { $days }, { $day }
project-every-day = every day
project-day-mon = Monday
project-day-tue = Tuesday
project-day-wed = Wednesday
project-day-thu = Thursday
project-day-fri = Friday
project-day-sat = Saturday
project-day-sun = Sunday
project-unknown = there is no project { $name }; see the list of tasks

## Drift

drift-directory = current is a directory and no link, tagship switched it to { $from }
drift-file = current is a file and no link, tagship switched it to { $from }
drift-text = current is a link whose text cannot be shown, tagship switched it to { $from }
drift-dangling = current points to { $to }, which is not there, tagship switched it to { $from }
drift-loop = current is a link that points to itself, tagship switched it to { $from }
drift-elsewhere = current points to { $to }, tagship switched it to { $from }
drift-missing = current is missing, tagship switched it to { $from }
drift-since = { $drift } (first seen { $seen }; time of change unknown)
drift-since-change = { $drift } (changed { $changed } by the host's clock, first seen { $seen })

## Live updates

live-connection-lost = The connection is lost. This page may be out of date; it is updated as soon as the connection is back.
live-agent-gone = The agent does not answer. This page may be out of date; releases that run continue when the agent is back.

## Board

board-title = Board
board-you-can-approve = You can approve { $count }.
board-you-decide = { $count ->
    [one] 1 paused task waits for your decision.
   *[other] { $count } paused tasks wait for your decision.
}
board-nothing-for-you = Nothing waits for you.
board-for-you = For you
board-waiting = Waiting for others
board-running = In progress
board-next = Next
board-live = Live
board-failed = Failed
board-recent = Recent
board-no-tasks = No task yet. Push a tag to start one.
board-no-environments = There is no environment that you may see.
board-left-out = { $count ->
    [one] 1 older unfinished task is not shown. Use the list of tasks to find it.
   *[other] { $count } older unfinished tasks are not shown. Use the list of tasks to find them.
}
board-more = Show { $count } more
board-all-projects = All projects
board-all-environments = All environments
board-rollback = rollback
board-emergency = EMERGENCY
board-approval-requested = approval requested
board-you-can = you can approve
board-you-decide-this = you decide
board-task = task { $id }
board-no-project = no project
board-starts = Starts at { $at }
board-starts-not-before = Starts no earlier than { $at }
board-held-by-freeze = Frozen until { $until }
board-first-release = first release
board-changes-nothing = changes nothing
board-adds = { $count ->
    [one] adds 1 commit
   *[other] adds { $count } commits
}
board-removes = { $count ->
    [one] REMOVES 1 commit
   *[other] REMOVES { $count } commits
}
board-diverged = DIVERGED: adds { $ahead }, removes { $back }
board-not-comparable = cannot be compared
board-needs = { $count ->
    [one] needs 1 approval
   *[other] needs { $count } approvals
}
board-needs-of = { $count ->
    [one] needs 1 approval of { $who }
   *[other] needs { $count } approvals of { $who }
}
board-needs-for-pusher = { $count ->
    [one] needs 1 more approval, because no account is known for the pusher
   *[other] needs { $count } more approvals, because no account is known for the pusher
}
board-progress = { $hosts ->
    [one] stage { $number } of { $stages }, { $stage }: { $done } of 1 host done
   *[other] stage { $number } of { $stages }, { $stage }: { $done } of { $hosts } hosts done
}
board-drift = { $count ->
    [one] Drift on { $hosts }
   *[other] Drift on { $count } hosts: { $hosts }
}
board-taken-out = { $count ->
    [one] { $hosts } is disabled
   *[other] { $count } hosts are disabled: { $hosts }
}
board-frozen = Releases are frozen until { $until }
board-several-releases = { $count } different releases are live
board-nothing-live = Nothing is live.
board-on-hosts = { $count ->
    [one] on 1 host
   *[other] on { $count } hosts
}
board-since = since { $at }
board-place-running = In progress
board-place-next = Next
board-and-more = and { $count } more
board-place-last = Last task
board-place-hosts = Hosts
board-place-history = All its tasks

## Tasks

list-search = Search
list-filters = Filters
list-by-state = By state
list-project = Project
list-state = State
list-all = all
list-all-states = All
list-words = Keywords
list-words-cover = tag, title, remarks, commit message, comments or reasons
list-more-filters = More filters
list-tag = Tag starts with
list-environment = Environment
list-template = Template
list-submitter = Submitter
list-approver = Approver
list-since = Created since
list-until = Created until
list-id = Task number
list-clear = Clear
list-none = No tasks found.
list-none-so-far = No match so far; continue with More.
list-pages = More tasks
list-newest = Newest
list-more = More

## Lists, states and times

list-pair = { $first }, { $second }
list-last = { $named } and { $last }
list-and-more = { $named } and { $count } more
with-reason = { $what }: { $why }
state-proposed = proposed
state-waiting = waiting
state-scheduled = scheduled
state-queued = queued
state-running = running
state-paused = paused
state-stopping = stopping
state-stopped = stopped
state-rolling-back = rolling back
state-rolled-back = rolled back
state-rollback-failed = rollback failed
state-failed = failed
state-succeeded = succeeded
state-rejected = rejected
state-expired = expired
state-withdrawn = withdrawn
state-superseded = superseded
state-observed = observed
weekday-monday = Mon { $time }
weekday-tuesday = Tue { $time }
weekday-wednesday = Wed { $time }
weekday-thursday = Thu { $time }
weekday-friday = Fri { $time }
weekday-saturday = Sat { $time }
weekday-sunday = Sun { $time }
duration-ms = { $ms } ms
duration-s = { $s } s
duration-min = { $min } min { $s } s
duration-h = { $h } h { $min } min
duration-d = { $d } d { $h } h

## Approvals

approvals-needed = { $count ->
    [one] { $count } approval
   *[other] { $count } approvals
}
approvals-needed-by = { $count ->
    [one] { $count } approval by { $of }
   *[other] { $count } approvals by { $of }
}
approvals-more = { $count ->
    [one] { $count } more approval
   *[other] { $count } more approvals
}
approvals-more-by = { $count ->
    [one] { $count } more approval by { $of }
   *[other] { $count } more approvals by { $of }
}
approvals-unknown-pusher = { $count } more, because no account is known for the pusher (map it with gitlab, system or ssh_keys of [users.NAME])
approval-in-stead = { $by } on behalf of { $of }
approval-in-emergency = { $by } in an EMERGENCY ({ $reason })
approved-before-change = approved by { $who } when { $then } was live; { $now } is live since { $since }
refusal-role = { $actor } has the role { $role }; to approve a task requires the role { $needs }: ask an admin for it
refusal-role-in = { $actor } has the role { $role } in { $place }; to approve a task requires the role { $needs }: ask an admin for it
refusal-role-of-template = { $actor } has the role { $role } (template { $template }); to approve a task requires the role { $needs }: ask an admin for it
refusal-scope = this token of { $actor } has the scopes { $scopes }; to approve a task requires the scope { $needs }: create a token with it
refusal-local = { $actor } is a user of the agent's machine, whose approval does not count; log in as an approver, set [agent] local_approval = true, or, in an emergency, approve with --emergency REASON
refusal-own = { $actor } submitted this task and may not approve it; another approver has to
refusal-twice = { $actor } has approved this plan already, or another user on their behalf; another approver has to
refusal-other-plan = the plan has changed: you saw { $seen }, it is now { $now }; look at it again
refusal-not-asked = { $actor } is in none of the groups that this plan asks for: { $asked }

## What changes

live-nothing = nothing
relation-first = first release: nothing to compare with
relation-same = no change: this commit is already live
relation-ahead = adds { $count ->
    [one] { $count } commit
   *[other] { $count } commits
}
relation-back = REMOVES { $count ->
    [one] { $count } commit
   *[other] { $count } commits
}
relation-diverged = DIVERGED: adds { $ahead ->
    [one] { $ahead } commit
   *[other] { $ahead } commits
}, removes { $back ->
    [one] { $back } commit
   *[other] { $back } commits
}
relation-unknown = no comparison: the repository does not have the live commit
changed-files = { $count ->
    [one] { $count } changed file
   *[other] { $count } changed files
}
changed-files-and-lines = { $count ->
    [one] { $count } changed file
   *[other] { $count } changed files
}, +{ $added } −{ $removed } lines
changed-files-uncounted = { $count ->
    [one] { $count } changed file
   *[other] { $count } changed files
}, too large to count lines
release-of-others = { $release } (not made by tagship)
release-on-hosts = { $release } on { $hosts }
rollback-summary = to { $target }
rollback-summary-from = to { $target }, from { $live }
rollback-summary-release = { $release } ({ $commit }, released { $at } by task { $task })
rollback-summary-undated-release = { $release } ({ $commit }, released by task { $task })
rollback-target-is-live = this rollback changes nothing: its target is already live
rollback-commit-is-live = this rollback changes nothing: the same commit is already live as { $release }
rollback-release-is-live = this rollback changes nothing: { $release } is already live

## Details of a state

detail-behind = waits for task { $task }, which is { $state }
detail-ref-unseen = tag { $tag } cannot be looked for: { $why }
detail-not-landed = not landed yet: { $why }
detail-asked-by = asked by { $by }
detail-by = by { $by }
detail-by-because = by { $by }: { $reason }
detail-by-task = by task { $task }
detail-gate = waits at the gate before stage { $number }
detail-gate-of-stage = waits at the gate before stage { $stage }
detail-gate-of-steps = waits at the gate before { $steps }
detail-gate-of-a-step = waits at the gate before a step
detail-time = waits for its time
step-on-hosts = { $step } on { $hosts }
step-checked-out = { $count ->
    [one] { $count } file
   *[other] { $count } files
}
step-sent = { $count ->
    [one] { $count } file
   *[other] { $count } files
} sent, { $size }
step-was-live = was { $release }
step-nothing-was-live = nothing was live
step-host-away = unreachable: { $reason }; retried until { $until }
drift-remedy = find out who switched it; the next release or rollback there replaces it
drift-remedy-dangling = find out who removed it; release or roll back there, which makes the link again
drift-remedy-text = find out who made it; roll back there, which replaces it; a release needs a plain link, and its error says how to make one
drift-remedy-directory = find out who put it there; run there, in deploy_to: mv -T current current.was && ln -s current.was current (the same stays live), then release or roll back
own-task-did-not-succeed = release { $release } was live, but its own task { $task } did not succeed ({ $state })
note-on-hosts = on { $hosts }: { $finding }
note-left-out = left out: { $hosts }, disabled or no longer configured when the rollback was requested; what is live there stays
note-drift = { $drift }; { $then }
note-drift-points-here = it points to this task's release already
note-drift-is-replaced = this task replaces it
note-drift-found = found by this task: { $drift }
note-rolls-back = rolls back to { $to }
note-rolls-back-from = rolls back to { $to }, from { $from }
note-stays = stays at { $to }
note-may-be-gone = { $back }; { $to } is not known to exist there: if it is gone, this task fails before any host switches, and nothing is built
note-differs = it differs from what was released
note-files-differ = { $count ->
    [one] { $count } file differs
   *[other] { $count } files differ
} from what was released: { $names }
note-more-files-differ = { $count ->
    [one] { $count } file differs
   *[other] { $count } files differ
} from what was released: { $names } and { $others } more
note-differs-after-rollback = rolled back; { $differs }
note-rebuilt = release { $release } may be missing on { $hosts }: if so, it is rebuilt from commit { $commit }, without files that were written into it on the host

## History of a task

event-proposed = proposed
event-joined = joined
event-ref-doubted = ref doubted
event-ref-not-seen = ref not seen
event-not-landed-yet = not landed yet
event-landed = landed
event-compared = compared
event-approved = approved
event-rejected = rejected
event-withdrawn = withdrawn
event-superseded = superseded
event-expired = expired
event-reopened = reopened
event-due = due
event-started = started
event-step-began = step began
event-host-away = host away
event-host-back = host back
event-step-ended = step ended
event-paused = paused
event-held-at-a-gate = held at a gate
event-continued = continued
event-stop-requested = stop requested
event-host-stop-requested = host stop requested
event-host-skipped = host skipped
event-freeze-overridden = freeze overridden
event-retry-requested = retry requested
event-rollback-began = rollback began
event-finished = finished
happened-by = by { $by }
happened-by-on-host = by { $by }, on { $host }
happened-on-host-by = { $host }, by { $by }
happened-by-task = by task { $task }
happened-live = { $live } is live
happened-attempt = { $step }, attempt { $number }
happened-step-succeeded = { $step } succeeded
happened-step-failed = { $step } failed
happened-step-unknown = { $step } unknown
happened-step-stopped = { $step } stopped
happened-before-stage = before stage { $number }
happened-hosts-at-gate = hosts wait at a gate
happened-until-time = until its time

## Plan of a task

plan-on-agent = on the agent
plan-on-hosts = on { $count ->
    [one] { $hosts }
   *[other] { $count } hosts: { $hosts }
}
plan-gate-by-hand = manual gate
plan-gate-timed = timed gate
plan-gate-on-each-host = manual gate on each host
plan-at-a-time = { $count ->
    [one] { $count } host at a time
   *[other] { $count } hosts at a time
}
plan-first-host-only = on the first host only
plan-on-agent-as = on the agent, as { $user }
plan-once-on = once, on { $host }
plan-as-user = as { $user }, system user { $system }
plan-outputs = outputs { $names }
plan-secret = { $name } (a secret)
plan-digest-of-script = SHA-256 { $digest }
plan-check-presence = check that it exists in { $directory }
plan-switch-to = switch { $directory }/current to { $release }
plan-check-out = check out { $commit }
plan-sync = sync to { $directory }
plan-switch = switch { $directory }/current to the release
plan-check-http = check that { $url } returns { $status }
plan-check-tcp = check that { $address } accepts connections
plan-check-command = check: { $command }
plan-command-with = { $command } with { $arguments }
plan-in-release = { $command } (in the release)
plan-in-directory = { $command } (in { $directory })
plan-script = script { $name }

## Page of a task: state

task-number = task { $id }
task-rollback = rollback
task-rollback-to = to task { $id }
task-connection-lost = Connection lost; reconnecting. This page may be out of date.
task-clauses = { $first }; { $second }
task-hosts = { $count ->
    [one] { $count } host of { $place }
   *[other] { $count } hosts of { $place }
}
task-replaces = replaces { $release }
task-replaces-since = replaces { $release }, live since { $since } by { $by }
task-replaces-several = replaces { $release }, which differ by host
task-size = { $commits ->
    [one] { $commits } commit
   *[other] { $commits } commits
}, { $files ->
    [one] { $files } file
   *[other] { $files } files
}
task-hosts-differ = compared with several live releases
task-waits-for = waits for { $what }
task-waits-for-freeze-end = waits for the end of a freeze
task-starts = starts at { $at }
task-is-scheduled = is scheduled
task-is-planned = is being planned
task-waits-for-ref = waits for its ref on the git server
task-not-landed = has not landed yet: { $why }
task-waits-for-slot = starts when a task slot is free
task-is-next = is next in the queue of { $place }
task-is-queued = is queued: { $why }
task-is-running = is running
task-is-at-stage = is running: stage { $number } of { $stages }, { $stage }: { $done } of { $hosts ->
    [one] { $hosts } host
   *[other] { $hosts } hosts
} done
task-is-paused = is paused: { $why }
task-is-paused-until = is paused: { $why }; it stops at { $end } unless resumed
task-is-being-stopped = is being stopped, asked by { $by }
task-was-stopped = was stopped; hosts stay as they were at that moment
task-is-rolling-back = is rolling back
task-was-rolled-back = failed, and was rolled back
task-rollback-failed = FAILED, and so did the rollback; check the hosts
task-failed = failed
task-errors-on = errors on { $count ->
    [one] { $count } host
   *[other] { $count } hosts
}
task-was-rejected = was rejected by { $by }
task-expired = has expired
task-was-withdrawn = was withdrawn by { $by }
task-was-superseded = was superseded by task { $task }
task-was-observed = was only planned: its rule says observe
task-succeeded = succeeded
task-was-released = was released
task-was-replaced = was released; task { $task } has replaced it
task-is-live = is live on { $hosts }
task-is-live-on-some = is live on { $count } of { $total } hosts: { $hosts }
task-frozen = Releases to { $environment } are frozen until { $until } ({ $freeze }).
task-freeze-overridden = Releases to { $environment } are frozen until { $until } ({ $freeze }). Overridden for this task by { $by }.
task-host-skipped = Host { $host } was skipped by { $by }: { $reason }
task-approved-by = Approved by { $who }.
task-rolls-back = Rolls back { $way }.
task-newer-has-run = task { $task } has run there since: this task can no longer be retried
task-other-went-live = task { $task } went live there after this comparison; the comparison is being updated

## Page of a task: changes

task-changes = Changes
task-rollback-target = Rollback target
task-tag-named-otherwise = The tag object is named { $name }, but was pushed as { $tag }.
task-release-note = Release note
task-tagged-by = Tagged by { $name }, { $at }
task-passed = This commit passed { $environment } as { $release }, { $at }
task-compared-now = Compared with the release live now ({ $at }):
task-compared-then = Compared with the release live at that time ({ $at }):
task-hosts-differed = The hosts ran different releases.
task-compared-with = compared with { $release } ({ $commit }) on { $hosts }
task-compared-with-commit = compared with { $commit } on { $hosts }
task-commits-added = Commits added ({ $count })
task-newest-commits-added = Commits added ({ $count } newest)
task-commits-removed = Commits removed ({ $count })
task-newest-commits-removed = Commits removed ({ $count } newest)
task-and-more = and { $count } more
path-added = added
path-deleted = deleted
path-type-changed = type changed
path-modified = modified
task-compare-on-server = All changes on the git server

## Page of a task: decision

task-actions = Actions
task-approve = Approve
task-reject = Reject
task-reject-because = Reject…
task-optional-comment = Comment (optional)
task-reason = Reason
task-optional-reason = Reason (optional)
task-schedule = Schedule…
task-not-before-in-zone = Start no earlier than (time zone { $zone })
task-emergency = Approve in an emergency…
task-emergency-means = Your approval replaces every missing one. It is marked on the task and in the audit log.
task-approve-in-emergency = Approve in an emergency
task-override-freeze = Override the freeze…
task-override-freeze-now = Override the freeze
task-resume = Resume
task-retry = Retry
task-retry-rollback = Retry the rollback
task-retry-steps = Retry failed and unstarted steps
task-withdraw = Withdraw
task-withdraw-because = Withdraw…
task-stop = Stop
task-stop-now = Stop…
task-stop-means = Running steps end now. Hosts stay as they are at that moment: some may have switched.
task-single-host = Single host…
task-reason-to-skip = Reason (required to skip)
task-stop-host = Stop host
task-skip-host = Skip host
task-resume-host = Resume host
task-roll-back-to-this = Roll back to this release…
task-roll-back = Roll back { $place }…
task-submit-again = Submit again…
task-approvals = Approvals
task-your-approval = Your approval is requested.
task-approval-requested = Approval requested from
task-can-be-approved = Can be approved by { $who }.
task-too-few-approvers = Only { $who } can approve it, which is not enough.
task-missing = missing: { $what }
task-not-before = start no earlier than { $at }

## Page of a task: facts

task-facts = Details
task-submitted = Submitted by
task-tag = Tag
task-commit = Commit
task-run-at = Start no earlier than
task-expires = Expires
task-began = Started
task-ended = Ended
task-took = Took
task-executor = Executor
task-release = Release
task-host-list = Hosts ({ $count })
task-live-before = Live before this task
task-no-release = no release
task-plan = Plan
task-parameters = Parameters ({ $count })
task-plan-digest = Plan digest
task-template = Template
task-on-failure-rollback = If a host fails: switched hosts roll back.
task-on-failure-pause = If a host fails: the task pauses.
task-on-failure-stop = If a host fails: the task stops; switched hosts keep the new release.
task-on-failure-continue = If a host fails: the other hosts continue.
task-log = Log
task-log-end = The latest lines.
task-full-log = Full log
task-history = History ({ $count })

## Page of a task: progress

task-progress = Progress
task-elapsed = Running for
task-usual-time = usually { $time }
task-longer-than-usual = longer than usual ({ $time })
task-against-usual = Time against the usual time
task-phases = How long each stage took
task-stage = Stage { $number }: { $name }
task-rollback-stage = Rollback: { $name }
task-on-agent = on the agent
task-hosts-done = { $done } of { $count ->
    [one] { $count } host
   *[other] { $count } hosts
} done
task-done-hosts = { $count ->
    [one] { $count } host done
   *[other] { $count } hosts done
}
task-more-hosts = { $count ->
    [one] { $count } more host, done or not started.
   *[other] { $count } more hosts, done or not started.
}
task-host = Host
task-since = since { $time }
step-pending = not started
step-running = running
step-done = done
step-failed = failed
step-unknown = unknown
step-stopped = stopped
step-held = waits at gate
step-skipped = skipped
step-elsewhere = not on this host
step-exit = exit { $code }
step-attempt = attempt { $number }
task-errors = Errors
task-host-count = { $count ->
    [one] { $count } host
   *[other] { $count } hosts
}
task-more-errors = { $count ->
    [one] { $count } more error
   *[other] { $count } more errors
}
task-log-of = Log of { $step } on { $host }
