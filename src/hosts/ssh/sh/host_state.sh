# A release is world-readable, whatever the umask of the login user.
umask 022
# ts_plain NAME: whether it can be the name of a release.
ts_plain() {
    case $1 in '' | .* | *[!0-9A-Za-z._-]*) return 1 ;; esac
    [ "${#1}" -le 200 ]
}
# For sed: sequences of UTF-8 become x; U+FFFD and the control characters of two bytes do not.
ts_utf8='s/\357\277\275/\001/g;s/\302[\240-\277]/x/g;s/[\303-\337][\200-\277]/x/g
s/\340[\240-\277][\200-\277]/x/g;s/\355[\200-\237][\200-\277]/x/g
s/[\341-\354\356\357][\200-\277][\200-\277]/x/g;s/\360[\220-\277][\200-\277][\200-\277]/x/g
s/[\361-\363][\200-\277][\200-\277][\200-\277]/x/g;s/\364[\200-\217][\200-\277][\200-\277]/x/g
'
# ts_is_text TEXT: whether it can be sent as it is: UTF-8 without control characters.
ts_is_text() {
    # shellcheck disable=SC2059
    [ "${#1}" -le 1000 ] && [ -z "$(printf '%s' "$1" | tr '\n' '\001' | sed "$(printf "$ts_utf8")" | tr -d '\040-\176')" ]
}
# Sets ts_live to the release that `current` points to, however that is spelled; to the text of the
# link, with a slash in it, if it points to no release; to nothing if there is no `current`, or if
# it points to itself.
# Sets ts_within to the release that contains the target of `current`, or to nothing.
# Sets ts_broken to the reason why `current` is no link to a directory, or to nothing.
ts_see_current() {
    ts_live=
    ts_within=
    ts_broken=
    if [ -L "$ts_at/current" ]; then
        if [ ! -e "$ts_at/current" ]; then
            ts_broken=dangling
            case $(stat -L -- "$ts_at/current" 2>&1) in
            # No target of a rollback, and `readlink -f` might never end on it.
            *'Too many levels'*) return 0 ;;
            # Other users may see it.
            *'Permission denied'*) ts_broken= ;;
            esac
        fi
        # Command substitution removes line ends; one of the text comes before the slash.
        ts_link=$(readlink -n -- "$ts_at/current" && printf /)
        ts_link=${ts_link%/}
        ts_live=${ts_link#releases/}
        if [ "$ts_live" = "$ts_link" ] || ! ts_plain "$ts_live"; then
            ts_see_lead
        elif [ -L "$ts_at/releases/$ts_live" ]; then
            # Another name of a release (`releases/stable`), or one that was moved away.
            ts_name=$ts_live
            ts_see_lead
            ts_plain "$ts_live" || ts_live=$ts_name
            ts_within=${ts_within:-$ts_name}
        else
            ts_within=$ts_live
        fi
    elif [ -d "$ts_at/current" ]; then
        ts_broken=directory
    elif [ -e "$ts_at/current" ]; then
        ts_broken=file
    fi
}
# For a rollback (ts_kept) it needs no text: nothing leads back there.
ts_see_live() {
    ts_see_current
    case $ts_broken${ts_kept:+-kept} in
    text) ts_refuse "$ts_at/current is a link whose text is no UTF-8, has control characters or over 1000 bytes, so it could not be led back there: rename a link with the plain path of that directory over it (ln -s DIRECTORY $ts_at/current.new && mv -T $ts_at/current.new $ts_at/current)" ;;
    directory* | file*) ts_refuse "$ts_at/current is no symbolic link, so it cannot be switched by a rename: find out who put it there; run there, in deploy_to: mv -T current current.was && ln -s current.was current (the same stays live), then retry" ;;
    esac
}
# After ts_say_host_state: reports the rest of what is known of `current`.
ts_say_current() {
    if [ -n "$ts_broken" ]; then ts_say "broken $ts_broken"; fi
    if [ -L "$ts_at/current" ]; then
        ts_changed=$(stat -c %Y -- "$ts_at/current" 2>/dev/null) && ts_say "changed $ts_changed"
    fi
    return 0
}
ts_see_lead() {
    ts_live=
    ts_lead=$(readlink -nf -- "$ts_at/current" && printf /) && [ -d "$ts_at/releases" ] &&
        ts_home=$(readlink -nf -- "$ts_at/releases" && printf /) &&
        case $ts_lead in "$ts_home"*) ts_live=${ts_lead#"$ts_home"} ts_live=${ts_live%/} ;; esac
    ts_within=${ts_live%%/*}
    ts_plain "$ts_within" || ts_within=
    if ts_plain "$ts_live"; then return 0; fi
    case $ts_link in
    */*) ts_live=$ts_link ;;
    *) ts_live=./$ts_link ;;
    esac
    if ! ts_is_text "$ts_live"; then
        ts_live=
        ts_broken=text
    fi
}
# ts_recorded RELEASE: sets ts_digest_recorded to the digest in its manifest, or to nothing.
ts_recorded() {
    ts_digest_recorded=
    if [ -f "$ts_base/manifests/$1" ]; then
        read -r ts_digest_recorded <"$ts_base/manifests/$1" || ts_digest_recorded=
    fi
    case $ts_digest_recorded in *[!0-9a-f]*) ts_digest_recorded= ;; esac
}
# ts_record RELEASE DIGEST: writes what ts_recorded reads, with the listing that ts_digest has kept.
ts_record() {
    ts_error=$({ printf '%s\n' "$2" | cat -- - "$ts_mine/listing" >"$ts_mine/manifest"; } 2>&1) || {
        if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
        ts_refuse "cannot write $ts_mine/manifest: $ts_error"
    }
    ts_sync "$ts_mine/manifest"
    ts_rename "$ts_mine/manifest" "$ts_base/manifests/$1"
    rm -f -- "$ts_mine/listing"
}
# ts_digest DIRECTORY: sets ts_sum to the digest of its tree, and keeps the listing.
ts_digest() {
    ts_sum=$(cd -- "$1" 2>/dev/null && ts_listing | tee -- "$ts_mine/listing" 2>/dev/null | sha256sum)
    ts_sum=${ts_sum%% *}
}
# ts_is_hidden PATH: whether it cannot be known if it exists.
ts_is_hidden() { case $(stat -L -- "$1" 2>&1) in *'Permission denied'*) return 0 ;; *) return 1 ;; esac; }
# Sets ts_link to the new text of current, and ts_dir to the directory that it points to.
ts_see_target() {
    ts_digest_recorded=
    case $ts_release in
    */*) ts_link=$ts_release ;;
    *)
        ts_link=releases/$ts_release
        ts_recorded "$ts_release"
        ;;
    esac
    case $ts_link in
    /*) ts_dir=$ts_link ;;
    *) ts_dir=$ts_at/$ts_link ;;
    esac
    if [ -n "$ts_kept" ]; then
        # The target of another tool may be a file, or in a directory that the login user may not
        # enter. It was live, so others may.
        [ -d "$ts_dir" ] || { [ "$ts_link" = "$ts_release" ] && { [ -e "$ts_dir" ] || ts_is_hidden "$ts_dir"; }; } ||
            ts_refuse "$ts_dir is no longer there, so current cannot be switched back to it: put it there again, or release under a new tag"
    else
        [ -n "$ts_digest_recorded" ] && [ -d "$ts_dir" ] ||
            ts_refuse "release $ts_release is not complete in $ts_at/releases: retry the sync step"
    fi
}
# A release is complete when its directory and its manifest exist.
ts_say_host_state() {
    ts_say "fence $1"
    if [ -n "$ts_live" ]; then ts_say "live $ts_live"; fi
    for ts_entry in "$ts_base"/manifests/*; do
        ts_name=${ts_entry##*/}
        case $ts_name in *[!0-9A-Za-z._-]*) continue ;; esac
        [ -d "$ts_at/releases/$ts_name" ] || continue
        ts_recorded "$ts_name"
        if [ -n "$ts_digest_recorded" ]; then ts_say "release $ts_name $ts_digest_recorded"; fi
    done
    ts_say_others
}
# What else is in `releases`: other tools made it. Not what could not be deleted.
ts_say_others() {
    ts_others=0
    for ts_entry in "$ts_at"/releases/*; do
        ts_name=${ts_entry##*/}
        ts_plain "$ts_name" && [ -d "$ts_entry" ] || continue
        if [ -e "$ts_base/manifests/$ts_name" ] || [ -e "$ts_base/trash/$ts_name.stays" ]; then continue; fi
        [ "$ts_others" -lt 100 ] || break
        ts_others=$((ts_others + 1))
        ts_say "other $ts_name"
    done
}
