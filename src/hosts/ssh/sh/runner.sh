# The runner: a process in a session of its own that outlives the connection. Run as
#   setsid sh -c TEXT tagship-runner PREPARED JOURNAL SECONDS BYTES DIRECTORY program arguments…
# with TAGSHIP_RUN (the cookie) and TAGSHIP_EXPORTS (the variables, as sh text) in the environment.
# It becomes the attempt by renaming PREPARED to JOURNAL. That fails for a second runner, or one of
# an overtaken agent, which then starts nothing. Reports on descriptor 3.
ts_mask=$(umask)
umask 077
ts_prepared=$1
ts_dir=$2
ts_seconds=$3
ts_keep=$4
ts_directory=$5
shift 5
ts_put() { printf '%s\n' "$2" >"$ts_dir/.$1" && mv -fT -- "$ts_dir/.$1" "$ts_dir/$1"; }
ts_runner=$$
ts_see_boot
ts_process "$$" || ts_stat_start=0
printf '%s\n' "$$ $ts_stat_start $ts_boot" >"$ts_prepared/runner" || exit 1
ts_error=$(mv -T -- "$ts_prepared" "$ts_dir" 2>&1) || {
    printf 'not begun: %s' "$ts_error" >&3
    exit 1
}
ts_sync "$ts_dir/runner" "$ts_dir" "${ts_dir%/*}"
printf begun >&3
exec 3>&-

ts_setsid=$(command -v setsid)
# A part (KEY.PART) ends with its attempt. The killer leaves the mark first and then searches parts;
# we make our directory first and then check for the mark.
ts_part=${ts_dir##*/}
if [ -e "$ts_dir/stop" ] || [ -e "${ts_dir%/*}/${ts_part%%.*}/stop" ]; then
    ts_put end 'not-begun'
    exit 0
fi
# All parts of the runner keep their session, so that they differ from the program.
(
    # `out` keeps the beginning of the output, and two further files the last bytes of the rest,
    # each named by its first offset. dd writes at once what it reads.
    ts_from=0
    ts_size=0
    ts_file=$ts_dir/out
    ts_before=
    while dd bs=4096 count=256 >>"$ts_file"; do
        ts_now=$(($(wc -c <"$ts_file")))
        if [ "$ts_now" -le "$ts_size" ]; then exit 0; fi
        ts_size=$ts_now
        if [ "$ts_size" -lt "$ts_keep" ]; then continue; fi
        if [ -n "$ts_before" ]; then rm -f -- "$ts_before"; fi
        if [ "$ts_from" -gt 0 ]; then ts_before=$ts_file; fi
        ts_from=$((ts_from + ts_size))
        ts_size=0
        ts_file=$ts_dir/out.$ts_from
    done
    # Read and drop what cannot be kept, so that the program never gets SIGPIPE.
    (: >"$ts_dir/clipped") # a subshell: a shell ends if the redirection of `:` fails
    exec cat >/dev/null
) <"$ts_dir/pipe" 2>/dev/null &
ts_pump=$!
(
    ts_exports=$TAGSHIP_EXPORTS
    unset TAGSHIP_EXPORTS
    cd -- "$ts_directory" || exit 126
    TAGSHIP_OUTPUT=$ts_dir/output
    export TAGSHIP_OUTPUT
    umask "$ts_mask"
    eval "$ts_exports"
    exec "$ts_setsid" -- "$@"
) >"$ts_dir/pipe" 2>&1 </dev/null &
ts_program=$!
ts_process "$ts_program" || ts_stat_start=0
ts_put program "$ts_program $ts_stat_start $ts_boot"
(
    # A time limit that works without output.
    ts_see_uptime
    ts_end_at=$((ts_uptime + ts_seconds * 100))
    while [ ! -e "$ts_dir/end" ]; do
        ts_see_uptime
        ts_left=$((ts_end_at - ts_uptime))
        if [ "$ts_left" -le 0 ]; then
            (: >"$ts_dir/late")
            # Do not wait for unkillable processes (of another user), nor report them as ended.
            ts_end_program || ts_put end unended
            exit 0
        fi
        if [ "$ts_left" -ge 100 ]; then sleep 1; else ts_nap "$ts_left"; fi
    done
) >/dev/null 2>&1 </dev/null &
ts_watch=$!
wait "$ts_program"
ts_code=$?
rm -rf -- "$ts_dir/script"
if [ -e "$ts_dir/late" ]; then
    wait "$ts_watch"
    # Whether all its children have ended since is unknown.
    if [ -e "$ts_dir/end" ]; then exit 0; fi
    ts_end=late
else
    kill "$ts_watch" 2>/dev/null
    ts_end="code $ts_code"
fi
# The outputs of the program are written before its end; a leftover child may keep the pipe open, so
# wait for one second only.
ts_naps=0
while kill -0 "$ts_pump" 2>/dev/null && [ "$ts_naps" -lt 25 ]; do
    ts_naps=$((ts_naps + 1))
    if [ "$ts_naps" -lt 5 ]; then ts_nap 1; else ts_nap 5; fi
done
ts_put end "$ts_end"
ts_sync "$ts_dir/end" "$ts_dir"
