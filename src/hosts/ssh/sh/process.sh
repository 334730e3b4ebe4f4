# Processes, from /proc. The processes of an attempt are those of the session of its program, and
# any that carry its cookie; the own session of the runner (pump, watch) is separate.

# ts_process PID: sets ts_stat_state, ts_stat_session and ts_stat_start; 1 if it does not run. The
# name in the second field may contain anything, including blanks and newlines.
ts_process() {
    ts_stat_text=
    { while IFS= read -r ts_stat_line; do ts_stat_text="$ts_stat_text $ts_stat_line"; done <"/proc/$1/stat"; } 2>/dev/null || return 1
    set -f
    # shellcheck disable=SC2086
    set -- ${ts_stat_text##*) }
    set +f
    [ "$#" -ge 20 ] || return 1
    ts_stat_state=$1
    ts_stat_session=$4
    shift 19
    ts_stat_start=$1
}
ts_see_boot() {
    ts_boot=unknown
    read -r ts_boot </proc/sys/kernel/random/boot_id || ts_boot=unknown
}
# Sets ts_uptime, in hundredths of a second.
ts_see_uptime() {
    read -r ts_uptime ts_idle </proc/uptime
    ts_uptime=${ts_uptime%.*}${ts_uptime#*.}
}
# ts_nap HUNDREDTHS, below 100
ts_nap() { if [ "$1" -lt 10 ]; then sleep "0.0$1"; else sleep "0.$1"; fi 2>/dev/null || sleep 1; }
# Sets ts_found to the processes of the attempt, ts_kept to those of the session of the runner.
# $ts_runner and $ts_program are their process IDs, -1 if unknown.
ts_see_processes() {
    ts_found=
    ts_kept=
    ts_carriers=" $(cd /proc && grep -lzFxs -e "TAGSHIP_RUN=$ts_dir" [0-9]*/environ | tr '\n' ' ')"
    ts_members=$(cd /proc && grep -lEs -e "\\) [A-Za-z] [0-9]+ [0-9]+ $ts_program " [0-9]*/stat)
    for ts_entry in $ts_carriers $ts_members; do
        ts_pid=${ts_entry%/*}
        # A process name can mislead the searches, but not this check.
        ts_process "$ts_pid" || continue
        case $ts_stat_state in Z | X) continue ;; esac
        case $ts_entry in
        */stat) if [ "$ts_stat_session" != "$ts_program" ]; then continue; fi ;;
        esac
        if [ "$ts_stat_session" = "$ts_runner" ]; then
            ts_kept="$ts_kept $ts_pid"
        else
            case " $ts_found " in *" $ts_pid "*) ;; *) ts_found="$ts_found $ts_pid" ;; esac
        fi
    done
}
# Kills the program and its children: TERM once each, KILL after two seconds, until none is found
# twice in a row (one may start another meanwhile). 1: some still exist, in ts_found.
ts_end_program() {
    ts_told=' '
    ts_quiet=0
    ts_see_uptime
    ts_kill_at=$((ts_uptime + 200))
    ts_give_up_at=$((ts_uptime + 1000))
    while :; do
        ts_see_processes
        ts_see_uptime
        if [ -z "$ts_found" ]; then
            ts_quiet=$((ts_quiet + 1))
            if [ "$ts_quiet" -ge 2 ]; then return 0; fi
            continue
        fi
        ts_quiet=0
        if [ "$ts_uptime" -ge "$ts_give_up_at" ]; then return 1; fi
        for ts_pid in $ts_found; do
            if [ "$ts_uptime" -ge "$ts_kill_at" ]; then
                kill -KILL "$ts_pid" 2>/dev/null
            else
                case $ts_told in
                *" $ts_pid "*) ;;
                *)
                    kill -TERM "$ts_pid" 2>/dev/null
                    ts_told="$ts_told$ts_pid "
                    ;;
                esac
            fi
        done
        ts_nap 5
    done
}
