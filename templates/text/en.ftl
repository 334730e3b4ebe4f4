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
hook-became-proposed = a new task was proposed
hook-became-joined = it joined the unfinished task of the same push
hook-became-duplicate = this record was processed before
hook-became-no-rule = no rule matches; nothing is released
hook-became-deleted = the tag was deleted; nothing is started
hook-became-unknown = no configured project has this repository
hook-became-unreadable = the file could not be read, and is kept in the spool's bad/: { $reason }

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
drift-dangling = current leads to { $to }, which is not there, tagship switched it to { $from }
drift-loop = current is a link that leads to itself, tagship switched it to { $from }
drift-elsewhere = current leads to { $to }, tagship switched it to { $from }
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
board-by = by { $who }
board-by-because = by { $who }: { $reason }
board-by-task = by task { $id }
board-gate-stage = waits at the gate before stage { $number }
board-gate-step = waits at the gate before a step
board-gate-time = waits for its time
board-not-landed = not landed yet: { $why }
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

## States of a task

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
