# ts_keep: how many complete releases to keep. ts_failed: names separated by blanks. ts_protect: names
# and texts of foreign links, one per line.
# A release leaves `releases` by one rename, before its first file is deleted.
# If even the rename fails, it stays there incomplete; a marker file in the trash records it.
ts_delete() {
    ts_renamed=yes
    ts_away "$ts_at/releases/$1" || ts_renamed=
    ts_gone=$ts_free
    if [ -e "$ts_base/manifests/$1" ]; then ts_rename "$ts_base/manifests/$1" "$ts_mine/old-manifest"; fi
    if [ -n "$ts_renamed" ]; then
        ts_say "deleted $1"
        ts_discard "$ts_gone"
    else
        ts_make_trash
        : >"$ts_base/trash/$1.stays" 2>/dev/null
    fi
}
ts_sweep() {
    for ts_entry in "$ts_mine"/old-* "$ts_at"/.tagship.new.*; do
        if [ -e "$ts_entry" ] || [ -L "$ts_entry" ]; then ts_discard "$ts_entry"; fi
    done
}
# Retries earlier failed deletions, and reports what is left each time.
ts_empty_trash() {
    for ts_entry in "$ts_base"/trash/*.stays; do
        ts_name=${ts_entry##*/}
        ts_name=${ts_name%.stays}
        [ -e "$ts_entry" ] || continue
        if [ ! -d "$ts_at/releases/$ts_name" ] || [ -e "$ts_base/manifests/$ts_name" ]; then
            rm -f -- "$ts_entry"
        elif ts_in "$ts_name" "$ts_held"; then
            continue # in use for now
        elif ts_away "$ts_at/releases/$ts_name"; then
            rm -f -- "$ts_entry"
            ts_discard "$ts_free"
        else
            ts_say_left "$ts_at/releases/$ts_name"
        fi
    done
    for ts_entry in "$ts_base"/trash/* "$ts_base/fence-$ts_fence"/left-* "$ts_at"/.tagship.new.*; do
        case $ts_entry in *.stays) continue ;; esac
        [ -e "$ts_entry" ] || [ -L "$ts_entry" ] || continue
        ts_remove "$ts_entry" || ts_say_left "$ts_entry"
    done
    rmdir -- "$ts_base/trash" 2>/dev/null
}
ts_say_left() {
    ts_say "left $1"
    ts_say "because $(printf '%s' "${ts_error##*: }" | head -n 1 | tr '\001-\037\177' ' ' | head -c 200)"
}
ts_in() { case " $2 " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
# ts_hold TARGET: adds to ts_held the entry of `releases` that it names, and the one that contains what
# it leads to.
ts_hold() {
    case $1 in
    /*) ts_lead=$1 ;;
    */*) ts_lead=$ts_at/$1 ;;
    *) ts_lead=$ts_at/releases/$1 ;;
    esac
    ts_hold_below "$ts_at/releases"
    # `readlink -f` might never end on a link that points to itself.
    [ -e "$ts_lead" ] || return 0
    ts_lead=$(readlink -f -- "$ts_lead")
    ts_hold_below "$ts_home"
}
ts_hold_below() {
    case $ts_lead in "$1"/*)
        ts_name=${ts_lead#"$1/"}
        ts_held="$ts_held ${ts_name%%/*}"
        ;;
    esac
}
# Sets ts_held to what is live and what a rollback may lead to.
ts_see_held() {
    ts_held=$ts_within
    ts_home=$(readlink -f -- "$ts_at/releases")
    ts_hold "${ts_link-}"
    IFS='
'
    set -f
    for ts_entry in $ts_protect; do ts_hold "$ts_entry"; done
    set +f
    unset IFS
}
ts_main() {
    [ -d "$ts_at/.tagship" ] || ts_done
    ts_own
    ts_see_live
    ts_see_held
    ts_sweep
    for ts_name in $ts_failed; do
        if [ -d "$ts_at/releases/$ts_name" ] && ! ts_in "$ts_name" "$ts_held"; then
            ts_delete "$ts_name"
        fi
    done
    ts_complete= # newest first: the shell sorts names upwards
    ts_room=$ts_keep
    for ts_entry in "$ts_base"/manifests/*; do
        ts_name=${ts_entry##*/}
        case $ts_name in *[!0-9A-Za-z._-]*) continue ;; esac
        if [ ! -d "$ts_at/releases/$ts_name" ]; then # cut off between two renames
            # A link may lead to a disk that is not mounted now.
            [ -L "$ts_at/releases/$ts_name" ] || ts_rename "$ts_entry" "$ts_mine/old-manifest"
            continue
        fi
        if ts_in "$ts_name" "$ts_failed"; then continue; fi
        if ts_in "$ts_name" "$ts_held"; then
            ts_room=$((ts_room - 1))
        else
            ts_complete="$ts_name $ts_complete"
        fi
    done
    for ts_name in $ts_complete; do
        if [ "$ts_room" -gt 0 ]; then
            ts_room=$((ts_room - 1))
        else
            ts_delete "$ts_name"
        fi
    done
    ts_sweep
    ts_empty_trash
    # Old attempts and switches that are no longer queried.
    find "$ts_base/journal" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf -- {} + 2>/dev/null
    ts_done
}
