# ts_key: names the attempt. ts_directory ts_seconds ts_keep ts_exports: see the runner.
# ts_runner_text: the runner. ts_offset: where the output continues. ts_script_name, ts_script_text:
# an attached file, or nothing. $@: the program and its arguments, or the arguments of the script.
ts_start() {
    for ts_tool in setsid mkfifo; do
        command -v "$ts_tool" >/dev/null || ts_refuse "the host has no $ts_tool: install util-linux and coreutils there"
    done
    if [ "$ts_directory" = '~' ]; then ts_directory=${HOME:-/}; fi
    [ -d "$ts_directory" ] || ts_refuse "cannot run in $ts_directory: no such directory on the host"
    ts_error=$(
        umask 077
        {
            { [ ! -e "$ts_mine/run" ] || ts_discard "$ts_mine/run"; } && mkdir -- "$ts_mine/run" && mkfifo -- "$ts_mine/run/pipe" &&
                : >"$ts_mine/run/out" && : >"$ts_mine/run/output"
        } 2>&1
    ) || {
        if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
        ts_refuse "cannot write in $ts_mine: $ts_error"
    }
    # An attached script is renamed into place with the directory of the attempt.
    if [ -n "$ts_script_name" ]; then
        ts_error=$(
            umask 077
            {
                mkdir -- "$ts_mine/run/script" &&
                    printf '%s' "$ts_script_text" >"$ts_mine/run/script/$ts_script_name" &&
                    chmod 700 "$ts_mine/run/script/$ts_script_name"
            } 2>&1
        ) || ts_refuse "cannot write the script $ts_script_name in $ts_mine: $ts_error"
        ts_script=$ts_dir/script/$ts_script_name
        case $ts_script_text in
        '#!'*)
            set -- "$ts_script" "$@"
            # On a file system mounted noexec. Some shells look only at the mode.
            env test -x "$ts_mine/run/script/$ts_script_name" || {
                ts_see_interpreter
                if [ -n "$ts_argument" ]; then set -- "$ts_argument" "$@"; fi
                set -- "$ts_interpreter" "$@"
            }
            ;;
        *) set -- sh "$ts_script" "$@" ;;
        esac
    fi
    TAGSHIP_RUN=$ts_dir
    TAGSHIP_EXPORTS=$ts_exports
    export TAGSHIP_RUN TAGSHIP_EXPORTS
    unset LC_ALL
    if [ -n "$ts_locale" ]; then
        LC_ALL=$ts_locale
        export LC_ALL
    fi
    ts_begun=$( (setsid sh -c "$ts_runner_text" tagship-runner "$ts_mine/run" "$ts_dir" "$ts_seconds" "$ts_keep" "$ts_directory" "$@" 3>&1 >/dev/null 2>&1 </dev/null &))
    unset TAGSHIP_RUN TAGSHIP_EXPORTS
    LC_ALL=C
    export LC_ALL
    [ "$ts_begun" = begun ] && return 0
    if [ -d "$ts_dir" ]; then return 0; fi # another script of ours was faster: the attempt is the same
    if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
    ts_refuse "the runner could not start: ${ts_begun:-it said nothing}"
}
# Sets ts_interpreter and ts_argument as the kernel reads the first line of a script: all after the
# program is one argument.
ts_see_interpreter() {
    ts_first=$(printf '%s\n' "$ts_script_text" | sed -n '1s/^#![[:blank:]]*//p')
    ts_interpreter=$(printf '%s\n' "$ts_first" | sed 's/[[:blank:]].*//')
    ts_argument=$(printf '%s\n' "$ts_first" | sed -e 's/^[^[:blank:]]*[[:blank:]]*//' -e 's/[[:blank:]]*$//')
}
# Old tasks, if each has a directory of its own.
ts_sweep() {
    case $ts_at in
    */.tagship-tasks/[0-9]*-*) find "${ts_at%/*}" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*-*' -mtime +90 -exec rm -rf -- {} + 2>/dev/null ;;
    esac
}
ts_main() {
    [ -d "$ts_at" ] || ts_error=$(umask 022 && mkdir -p -- "$ts_at" 2>&1) || [ -d "$ts_at" ] ||
        ts_refuse "cannot make $ts_at: $ts_error; make it once, for $(id -un): mkdir -p $ts_at && chown $(id -un) $ts_at"
    ts_see_boot
    ts_own
    ts_dir=$ts_base/journal/$ts_key
    if [ ! -d "$ts_dir" ]; then
        ts_sweep
        ts_start "$@"
    fi
    ts_see_state
    if [ "$ts_state" != not-begun ]; then ts_say begun; fi
    ts_follow
}
