# A release is for everybody to read, whatever the mask of the user who logs in.
umask 022
# Sets ts_live to the release that `current` names, to nothing where there is no `current`.
ts_see_live() {
    ts_live=
    if [ -L "$ts_at/current" ]; then
        ts_link=$(readlink -- "$ts_at/current")
        ts_name=${ts_link#"$ts_at/"}
        ts_name=${ts_name#./}
        case $ts_name in
        releases/*) ts_name=${ts_name#releases/} ;;
        *) ts_name= ;;
        esac
        case $ts_name in
        '' | .* | *[!0-9A-Za-z._-]*)
            ts_refuse "$ts_at/current points to $ts_link, which is no release in $ts_at/releases: move the link away (mv $ts_at/current $ts_at/current.before)"
            ;;
        esac
        ts_live=$ts_name
    elif [ -e "$ts_at/current" ]; then
        ts_refuse "$ts_at/current is no symbolic link, so it cannot be switched by a rename: move it away (mv $ts_at/current $ts_at/current.before), or use layout = \"in-place\""
    fi
}
# ts_recorded RELEASE: sets ts_digest_recorded to the digest in the release's manifest, or to nothing.
ts_recorded() {
    ts_digest_recorded=
    if [ -f "$ts_base/manifests/$1" ]; then
        read -r ts_digest_recorded <"$ts_base/manifests/$1" || ts_digest_recorded=
    fi
    case $ts_digest_recorded in *[!0-9a-f]*) ts_digest_recorded= ;; esac
}
# ts_record RELEASE DIGEST: as ts_recorded reads it.
ts_record() {
    printf '%s\n' "$2" >"$ts_mine/manifest" 2>/dev/null || {
        if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
        ts_refuse "cannot write $ts_mine/manifest: is the disk full?"
    }
    ts_sync "$ts_mine/manifest"
    ts_rename "$ts_mine/manifest" "$ts_base/manifests/$1"
}
# ts_digest DIRECTORY: sets ts_sum to the digest of the tree that stands there.
ts_digest() {
    ts_sum=$(cd -- "$1" 2>/dev/null && ts_listing)
    ts_sum=${ts_sum%% *}
}
# A release is complete when its directory and its manifest stand.
ts_say_standing() {
    ts_say "fence $1"
    if [ -n "$ts_live" ]; then ts_say "live $ts_live"; fi
    for ts_entry in "$ts_base"/manifests/*; do
        ts_name=${ts_entry##*/}
        case $ts_name in *[!0-9A-Za-z._-]*) continue ;; esac
        [ -d "$ts_at/releases/$ts_name" ] || continue
        ts_recorded "$ts_name"
        if [ -n "$ts_digest_recorded" ]; then ts_say "release $ts_name $ts_digest_recorded"; fi
    done
}
