# ts_release: what is to be live. ts_over: what may be live before, names between blanks. ts_key: names
# the switch.
# The record of what was live is on disk before the switch; without its last newline it is no record,
# and nothing was switched under it yet.
ts_see_record() {
    ts_was=
    [ -f "$ts_base/journal/$ts_key" ] || return 1
    IFS= read -r ts_was <"$ts_base/journal/$ts_key" || return 1
    case $ts_was in
    'was -') ts_was= ;;
    'was '*) ts_was=${ts_was#was } ;;
    *) return 1 ;;
    esac
    case $ts_was in *[!0-9A-Za-z._-]*) return 1 ;; esac
}
ts_main() {
    [ -d "$ts_at" ] || ts_refuse "$ts_at does not exist: the sync step comes before publish"
    ts_own
    ts_see_live
    ts_recorded "$ts_release"
    [ -n "$ts_digest_recorded" ] && [ -d "$ts_at/releases/$ts_release" ] ||
        ts_refuse "release $ts_release is not complete in $ts_at/releases: retry the sync step"
    case " $ts_release $ts_over " in
    *" $ts_live "*) ;;
    *)
        # Whoever holds a later fence is kept off by that; this is what came before ours.
        if [ -n "$ts_live" ]; then
            ts_say "occupied $ts_live"
            ts_done
        fi
        ;;
    esac
    if ! ts_see_record; then
        ts_was=$ts_live
        printf 'was %s\n' "${ts_was:--}" >"$ts_mine/was" 2>/dev/null || {
            if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
            ts_refuse "cannot write $ts_mine/was: is the disk full?"
        }
        ts_rename "$ts_mine/was" "$ts_base/journal/$ts_key"
        ts_sync "$ts_base/journal/$ts_key" "$ts_base/journal"
    fi
    if [ "$ts_live" != "$ts_release" ]; then
        if [ -L "$ts_mine/current" ]; then rm -f -- "$ts_mine/current"; fi
        ts_error=$(ln -s -- "releases/$ts_release" "$ts_mine/current" 2>&1) || {
            if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
            ts_refuse "cannot make $ts_mine/current: $ts_error"
        }
        ts_rename "$ts_mine/current" "$ts_at/current"
    fi
    ts_sync "$ts_at"
    ts_say "was ${ts_was:--}"
    ts_done
}
