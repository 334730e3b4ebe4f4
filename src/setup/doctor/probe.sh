# place is called for each deploy path, after begin and machine; or only login. They print lines
# `word value`, and change nothing except one directory that the caller uses and deletes.
say() { printf '%s %s\n' "$1" "$2"; }

has() { command -v "$1" >/dev/null 2>&1; }

# Programs used by the scripts of a release, and their GNU-only features.
tools() {
    for tool in rsync setsid $ts_tool_names; do
        has "$tool" || say missing "$tool"
    done
    if has rsync; then say rsync "$(rsync --version 2>/dev/null | sed -n '1s/^rsync *version *v\{0,1\}\([0-9.]*\).*/\1/p')"; fi
    if has find && ! find / -maxdepth 0 -printf '' >/dev/null 2>&1; then say notgnu find; fi
    if has sort && ! printf '' | sort -z >/dev/null 2>&1; then say notgnu sort; fi
    if has mv && has grep && ! mv --help 2>&1 | grep -q -e --no-target-directory -e '-T'; then say notgnu mv; fi
}

# The nearest existing directory upwards.
above() {
    up=$1
    while [ ! -e "$up" ] && [ ! -L "$up" ]; do
        up=${up%/*}
        [ -n "$up" ] || up=/
    done
}

# live DIRECTORY: whether `current` points into it, so that it must not be deleted.
live() {
    [ -n "$lead" ] && [ -e "$1" ] || return 1
    case $lead/ in "$(readlink -f -- "$1")"/*) return 0 ;; *) return 1 ;; esac
}

# What is wrong in shared/, what tagship could not delete, and what it no longer knows.
remains() {
    at=$1
    shift
    lead=
    # `readlink -f` might never end on a link that points to itself.
    if [ -e "$at/current" ]; then lead=$(readlink -f -- "$at/current"); fi
    for entry in "$at"/.tagship/trash/* "$at"/.tagship/fence-*/left-* "$at"/.tagship.new.*; do
        [ -e "$entry" ] || [ -L "$entry" ] || continue
        case $entry in
        # One of our own is in use, or goes with the next release.
        "$at"/.tagship.new.*) [ -n "$(find "$entry" -prune ! -user "$(id -u)" 2>/dev/null)" ] || continue ;;
        *.stays) entry=${entry##*/} && entry=$at/releases/${entry%.stays} && [ -e "$entry" ] || continue ;;
        esac
        if live "$entry"; then continue; fi
        ts_see_mount "$entry"
        if [ -n "$ts_mount" ]; then say mounted "$ts_mount"; else say left "$entry"; fi
    done
    unrecorded=0
    for entry in "$at"/releases/[0-9]*-[0-9]*-*; do
        name=${entry##*/}
        case ${name%-*} in *[!0-9-]* | *-*-*) continue ;; ????????-??????) ;; *) continue ;; esac
        [ -d "$entry" ] && [ ! -e "$at/.tagship/manifests/$name" ] && [ ! -e "$at/.tagship/trash/$name.stays" ] || continue
        live "$entry" || unrecorded=$((unrecorded + 1))
    done
    if [ "$unrecorded" -gt 0 ]; then say unrecorded "$unrecorded $at/releases"; fi
    shared_paths "$@"
}

# The directories end in `/`.
shared_paths() {
    ts_at=$at
    for entry in "$@"; do
        path=$at/shared/${entry%/}
        if ts_see_there "$path"; then
            if [ "$path" = "$at/shared/$entry" ] && [ -d "$path" ]; then say directory-shared "$path"; fi
            continue
        fi
        case $entry in
        */)
            # Without a `shared`, the place itself matters.
            case $ts_up in "$at/shared" | "$at/shared"/*) ;; *) continue ;; esac
            [ -n "$ts_fault" ] || [ -w "$ts_up" ] || ts_fault="$(id -un) may not write in ${ts_up#"$at"/}"
            if [ -n "$ts_fault" ]; then say unmade-shared "$path$tab$ts_fault"; fi
            ;;
        *) say missing-shared "$path$tab$ts_fault" ;;
        esac
    done
}

# open PATH: whether it is missing, or a directory that can be written.
open() { [ ! -e "$1" ] || { [ -d "$1" ] && [ -w "$1" ] && [ -x "$1" ]; }; }

# denied DIRECTORY: says why it cannot be written.
denied() {
    case $(mkdir -- "$1/.tagship-check.$$" 2>&1 && rmdir -- "$1/.tagship-check.$$") in
    *'not permitted'*) say immutable "$1" ;;
    *'Read-only file system'*) say readonly "$1" ;;
    *) say unwritable "$1" ;;
    esac
}

# place DEPLOY_TO SHARED...
place() {
    remains "$@"
    above "$1"
    if [ ! -d "$up" ]; then say notdir "$up"; return; fi
    if [ ! -w "$up" ] || [ ! -x "$up" ]; then
        if [ "$up" = "$1" ]; then denied "$1"; else say unmade "$1"; fi
        return
    fi
    for below in releases .tagship .tagship/manifests .tagship/journal; do
        if ! open "$1/$below"; then denied "$1/$below"; return; fi
    done
    for below in "$1"/.tagship/fence-* "$1"/.tagship/fence-*/turn-* "$1"/.tagship/fence-*/temporary; do
        if [ -d "$below" ] && ! open "$below"; then denied "$below"; return; fi
    done
    # Needed only where a directory in it is missing.
    open "$1/shared" || say unwritable-shared "$1/shared"
    ts_see_disk "$1"
    disk=$ts_disk
    for below in "$1/releases" "$1/.tagship"; do
        ts_see_disk "$below"
        if [ -d "$below" ] && [ "$ts_disk" != "$disk" ]; then say apart "$below"; fi
    done
    if [ -e "$1/current" ] && [ ! -L "$1/current" ]; then say real "$1/current"; return; fi
    if [ -L "$1/current" ] && [ ! -e "$1/current" ]; then say dangling "$1/current"; return; fi
    say inodes "$(df -Pi "$up" 2>/dev/null | sed -n '2s/^.* \([0-9][0-9]*\)  *[0-9-]*% .*$/\1/p') $1"
    say free "$(df -Pk "$up" 2>/dev/null | sed -n '2s/^.* \([0-9][0-9]*\)  *[0-9-]*% .*$/\1/p') $1"
    if [ -z "$scratch" ] && (umask 077; mkdir "${up%/}/.tagship-check.$$" 2>/dev/null); then
        scratch=${up%/}/.tagship-check.$$
        say scratch "$scratch"
    fi
}

begin() {
    LC_ALL=C
    export LC_ALL
    # The home directory may be inaccessible, and find does not continue from there.
    cd /
    tab=$(printf '\t')
    printf '\n@tagship-check\n'
    say user "$(id -un 2>/dev/null || id -u)"
}

# For a user who only runs steps.
login() {
    begin
    has setsid || say missing setsid
    above "$HOME/.tagship-tasks"
    if [ ! -d "$up" ] || [ ! -w "$up" ] || [ ! -x "$up" ]; then say homeless "$HOME"; fi
    say done -
}

machine() {
    say clock "$(date +%s)"
    tools
    scratch=
}
