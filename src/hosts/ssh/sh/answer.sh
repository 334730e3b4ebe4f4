# Common output of all scripts. Answers are lines `word value` after the marker; `done` is the last.
ts_begin() { printf '\n@tagship-answer-1\n'; }
ts_say() { printf '%s\n' "$*" || exit 1; }
ts_done() {
    printf 'done\n'
    exit 0
}
# Whether a directory that releases need cannot be written: sets ts_denied to it.
ts_see_denied() {
    for ts_denied in "$ts_at" "$ts_at/releases" "$ts_base" "$ts_base/manifests" "$ts_base/journal" "$ts_base"/fence-* "$ts_base"/fence-*/turn-* "$ts_base"/fence-*/temporary; do
        if [ -d "$ts_denied" ] && ! { [ -w "$ts_denied" ] && [ -x "$ts_denied" ]; }; then return 0; fi
    done
    return 1
}
ts_refuse() {
    case "$*" in
    *'No space left on device'*)
        # The message is the same for a lack of space and of inodes.
        if df -Pi -- "${ts_at:-/}" 2>/dev/null | grep -q ' 0  *100% '; then set -- "$* (no inodes are left)"; fi
        ;;
    *chown*) ;; # it has its remedy
    *'Permission denied'*)
        if [ -n "${ts_base:-}" ] && ts_see_denied; then
            case $ts_denied in
            "$ts_base"*)
                # Directories only: files there may be those of the live release, too.
                set -- "$*; $(id -un) may not write in $ts_denied; as root on the host, run: find $ts_base -type d ! -path '*/trash/*' ! -path '*/left-*' -exec chown $(id -un) {} +"
                ;;
            *) set -- "$*; $(id -un) may not write in $ts_denied; as root on the host, run: chown $(id -un) $ts_denied" ;;
            esac
        fi
        ;;
    *'mv: '*'not permitted'* | *'mkdir: '*'not permitted'* | *'ln: '*'not permitted'*)
        set -- "$*; it or the directory above it is immutable, or sticky and of another user (see lsattr -d and ls -ld on the host)"
        ;;
    esac
    ts_text=$({ printf '%s' "$*" | tr '\001-\037\177' ' ' | head -c 2000; } 2>/dev/null)
    ts_say "refused ${ts_text:-the host has no tr or no head: install coreutils there}"
    ts_done
}
# Syncs files and directories to disk; an old `sync` without operands syncs everything.
ts_sync() { sync "$@" 2>/dev/null || if [ -e "$1" ]; then sync; fi; }
