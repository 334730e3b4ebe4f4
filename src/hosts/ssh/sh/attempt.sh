# Reads the journal of the attempt $ts_key. Its directory exists exactly from when the attempt has
# begun.

# ts_see_identity FILE: whether the process named in the file is alive. Sets ts_id to its number, -1
# if the file names none of this boot.
ts_see_identity() {
    ts_id=-1
    { read -r ts_id_pid ts_id_start ts_id_boot <"$ts_dir/$1"; } 2>/dev/null || return 1
    [ "$ts_id_boot" = "$ts_boot" ] || return 1
    ts_id=$ts_id_pid
    ts_process "$ts_id" && [ "$ts_stat_start" = "$ts_id_start" ] && [ "$ts_stat_state" != Z ]
}
# Sets ts_state: absent, running, gone (no end was written), or the content of `end`.
ts_see_state() {
    ts_runner=-1
    ts_program=-1
    if [ ! -d "$ts_dir" ]; then
        ts_state=absent
        return 0
    fi
    ts_state=gone
    if ts_see_identity runner; then ts_state=running; fi
    ts_runner=$ts_id
    if ts_see_identity program; then ts_state=running; fi
    ts_program=$ts_id
    if { read -r ts_end ts_code <"$ts_dir/end"; } 2>/dev/null; then ts_state=$ts_end; fi
}
# Sends the output files from ts_offset on. 1: nothing new.
ts_send_output() {
    ts_sent=gone
    while [ "$ts_sent" = gone ]; do
        # The file that contains the offset, and where the next one begins.
        ts_file=$ts_dir/out
        ts_from=0
        ts_next=-1
        for ts_each in "$ts_dir"/out.*; do
            ts_number=${ts_each##*.}
            case $ts_number in '' | *[!0-9]*) continue ;; esac
            if [ "$ts_number" -gt "$ts_offset" ]; then
                if [ "$ts_next" -lt 0 ] || [ "$ts_number" -lt "$ts_next" ]; then ts_next=$ts_number; fi
            elif [ "$ts_number" -gt "$ts_from" ]; then
                ts_from=$ts_number
                ts_file=$ts_each
            fi
        done
        if [ ! -f "$ts_file" ]; then
            if [ "$ts_next" -lt 0 ]; then return 1; fi
            ts_offset=$ts_next
            continue
        fi
        # Kept open, so that it is readable even if the runner deletes it meanwhile.
        { ts_send_piece; } 2>/dev/null 4<"$ts_file"
        # The bytes in between are not kept.
        if [ "$ts_sent" = no ] && [ "$ts_next" -ge 0 ]; then
            ts_offset=$ts_next
            ts_sent=gone
        fi
    done
    [ "$ts_sent" = yes ]
}
ts_send_piece() {
    ts_sent=no
    ts_size=$(wc -c </proc/self/fd/4)
    ts_more=$((ts_from + ts_size - ts_offset))
    if [ "$ts_more" -le 0 ]; then return 0; fi
    if [ "$ts_more" -gt 1048576 ]; then ts_more=1048576; fi
    ts_say "data $ts_offset $ts_more"
    tail -c "+$((ts_offset - ts_from + 1))" </proc/self/fd/4 | head -c "$ts_more"
    ts_offset=$((ts_offset + ts_more))
    ts_sent=yes
}
ts_say_end() {
    if [ -e "$ts_dir/clipped" ]; then ts_say clipped; fi
    case $ts_state in
    code)
        ts_size=0
        # Nothing else is opened: a pipe would be waited for.
        if [ -f "$ts_dir/output" ] && [ -r "$ts_dir/output" ]; then
            ts_size=$(wc -c <"$ts_dir/output")
        else
            ts_say no-values
        fi
        if [ "$ts_size" -gt 65536 ]; then
            ts_say "values 65536"
            head -c 65536 <"$ts_dir/output"
        elif [ "$ts_size" -gt 0 ]; then
            ts_say "values $((ts_size))"
            head -c "$ts_size" <"$ts_dir/output"
        fi
        ts_say "ended $ts_code"
        ;;
    late | unended) ts_say "$ts_state" ;;
    absent | not-begun) ts_say "not-begun $ts_state" ;;
    running) ts_say running ;;
    *) ts_say unknown ;;
    esac
    ts_done
}
# Follows the output to the end of the attempt. A heartbeat every few seconds ends this script when
# the reader is gone; the attempt continues.
ts_follow() {
    ts_wait=1
    ts_see_uptime
    ts_life=$ts_uptime
    while :; do
        ts_see_state # before the output is read: after its end, nothing more comes
        while ts_send_output; do ts_wait=1; done
        if [ "$ts_state" != running ]; then ts_say_end; fi
        ts_nap "$ts_wait"
        ts_wait=$((ts_wait * 2))
        if [ "$ts_wait" -gt 20 ]; then ts_wait=20; fi
        ts_see_uptime
        if [ "$((ts_uptime - ts_life))" -ge 500 ]; then
            ts_say alive
            ts_life=$ts_uptime
        fi
    done
}
