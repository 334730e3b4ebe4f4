# Text of the pages in English. `zh.ftl` has the same ids in the same order.

## On every page

skip-to-content = Skip to content
nav-pages = Pages
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
