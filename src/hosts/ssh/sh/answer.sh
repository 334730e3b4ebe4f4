# Common output of all scripts. Answers are lines `word value` after the marker; `done` is the last.
ts_begin() { printf '\n@tagship-answer-1\n'; }
ts_say() { printf '%s\n' "$*" || exit 1; }
ts_done() {
    printf 'done\n'
    exit 0
}
ts_refuse() {
    case "$*" in
    *'No space left on device'*)
        # The message is the same for a lack of space and of inodes.
        if df -Pi -- "${ts_at:-/}" 2>/dev/null | grep -q ' 0  *100% '; then set -- "$* (no inodes are left)"; fi
        ;;
    esac
    ts_text=$(printf '%s' "$*" | tr '\001-\037\177' ' ' | head -c 2000)
    ts_say "refused $ts_text"
    ts_done
}
# Syncs files and directories to disk; an old `sync` without operands syncs everything.
ts_sync() { sync "$@" 2>/dev/null || if [ -e "$1" ]; then sync; fi; }
