# ts_see_there PATH: 0: it is there. 1: it is not; ts_fault says what on its way there must be put
# right first, or is empty, and ts_up is what exists of that way. Paths below $ts_at are shortened.
ts_see_there() {
    ts_fault=
    [ ! -e "$1" ] || return 0
    ts_up=$1
    while [ -n "$ts_up" ] && [ ! -e "$ts_up" ] && [ ! -L "$ts_up" ]; do ts_up=${ts_up%/*}; done
    ts_shown=${ts_up#"$ts_at"/}
    if [ -L "$ts_up" ] && [ ! -e "$ts_up" ]; then
        ts_target=$(readlink -n -- "$ts_up" | tr '\001-\037\177' '?')
        case $(stat -L -- "$ts_up" 2>&1) in
        *'Permission denied'*) ts_fault="$ts_shown is a link to what $(id -un) may not see: $ts_target" ;;
        *) ts_fault="$ts_shown is a link to what is not there: $ts_target" ;;
        esac
    elif [ ! -d "${ts_up:-/}" ]; then
        ts_fault="$ts_shown is no directory"
    elif [ ! -x "${ts_up:-/}" ]; then
        ts_fault="$(id -un) may not see what is in $ts_shown"
    fi
    return 1
}
