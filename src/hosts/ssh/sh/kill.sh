# ts_key: names the attempt. An attempt that has not begun is barred forever, even on an unused
# host: its start may be on its way.
ts_bar() {
    ts_bar_dir=$ts_base/journal/.bar.$$
    ts_error=$(mkdir -- "$ts_bar_dir" 2>&1 && printf 'not-begun\n' >"$ts_bar_dir/end" && mv -T -- "$ts_bar_dir" "$ts_dir" 2>&1) && return 0
    rm -rf -- "$ts_bar_dir"
    [ -d "$ts_dir" ] || ts_refuse "cannot bar the attempt $ts_key: $ts_error"
}
# Kills what $ts_dir began; returns when nothing of it is left.
ts_end_attempt() {
    # At first the runner is left alone, so that it records how its program ended. It may be just
    # about to start it: so repeat until the runner itself is gone.
    ts_rounds=0
    while :; do
        ts_see_state
        ts_end_program || ts_refuse "still running after being killed:$ts_found (another user's? end them on the host: kill -KILL$ts_found)"
        ts_see_state
        if [ -z "$ts_kept$ts_found" ]; then return 0; fi
        ts_rounds=$((ts_rounds + 1))
        ts_patience=1
        if [ "$ts_state" = running ]; then ts_patience=20; fi
        # shellcheck disable=SC2086
        if [ "$ts_rounds" -gt "$ts_patience" ]; then kill -KILL $ts_kept 2>/dev/null; fi
        if [ "$ts_rounds" -gt 100 ]; then ts_refuse "the runner of $ts_key does not end:$ts_kept (end it on the host: kill -KILL$ts_kept)"; fi
        ts_nap 5
    done
}
ts_main() {
    ts_paths
    ts_whole=$ts_base/journal/$ts_key
    ts_dir=$ts_whole
    [ -d "$ts_at" ] || ts_error=$(umask 022 && mkdir -p -- "$ts_at" 2>&1) || [ -d "$ts_at" ] ||
        ts_refuse "cannot make $ts_at: $ts_error; it may still be begun there"
    ts_make_base
    ts_see_boot
    # If the journal was deleted, there is nothing to bar; a process that has begun is found by its
    # cookie.
    if [ -d "$ts_base/journal" ]; then
        [ -d "$ts_dir" ] || ts_bar
        # In a subshell: a shell ends if the redirection of `:` fails.
        ts_error=$({ : >"$ts_dir/stop"; } 2>&1) || ts_refuse "cannot write in $ts_dir: $ts_error"
    fi
    ts_end_attempt
    # Ended parts have left processes only if one carries their cookie.
    ts_carried=$(cd /proc && grep -lzFs -e "TAGSHIP_RUN=$ts_whole." [0-9]*/environ)
    for ts_dir in "$ts_whole".*; do
        [ -d "$ts_dir" ] || continue
        if [ -e "$ts_dir/end" ] && [ -z "$ts_carried" ]; then continue; fi
        ts_end_attempt
    done
    ts_say killed
    ts_done
}
