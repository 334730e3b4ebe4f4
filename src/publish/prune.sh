# ts_keep: how many complete releases stay. ts_protect ts_failed: names between blanks.
# A release leaves `releases` by one rename, before its first file is deleted.
ts_delete() {
    ts_rename "$ts_at/releases/$1" "$ts_mine/old-$1"
    if [ -e "$ts_base/manifests/$1" ]; then ts_rename "$ts_base/manifests/$1" "$ts_mine/old-manifest"; fi
    ts_say "deleted $1"
}
ts_sweep() {
    for ts_entry in "$ts_mine"/old-* "$ts_at"/.tagship.new.*; do
        if [ -e "$ts_entry" ]; then ts_discard "$ts_entry"; fi
    done
}
ts_in() { case " $2 " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
ts_main() {
    [ -d "$ts_at/.tagship" ] || ts_done
    ts_own
    ts_see_live
    ts_sweep
    for ts_name in $ts_failed; do
        if [ -d "$ts_at/releases/$ts_name" ] && ! ts_in "$ts_name" "$ts_live $ts_protect"; then
            ts_delete "$ts_name"
        fi
    done
    ts_complete= # newest first: the shell sorts names upwards
    ts_room=$ts_keep
    for ts_entry in "$ts_base"/manifests/*; do
        ts_name=${ts_entry##*/}
        case $ts_name in *[!0-9A-Za-z._-]*) continue ;; esac
        if [ ! -d "$ts_at/releases/$ts_name" ]; then # cut off between two renames
            ts_rename "$ts_entry" "$ts_mine/old-manifest"
            continue
        fi
        if ts_in "$ts_name" "$ts_failed"; then continue; fi
        if ts_in "$ts_name" "$ts_live $ts_protect"; then
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
    # Attempts and switches that nobody asks about any more.
    find "$ts_base/journal" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf -- {} + 2>/dev/null
    ts_done
}
