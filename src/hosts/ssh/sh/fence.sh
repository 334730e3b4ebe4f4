# Exactly one fence-N exists in .tagship, and in it exactly one turn-S (S: a sequence number): each
# was made with its parent and is only ever renamed upwards. Everything to be renamed into place is in
# fence-N/turn-S.
# So a rename by an agent that was overtaken, or by an earlier script of the same agent, fails in
# the kernel: its directory no longer exists.

# ts_above A B: whether A is above B. Numbers of any length: shells have 63 bits at most.
ts_above() {
    if [ "${#1}" -ne "${#2}" ]; then [ "${#1}" -gt "${#2}" ]; else [ "$1" \> "$2" ]; fi
}
# ts_look DIRECTORY NAME MAX: sets ts_high to the highest N up to MAX of DIRECTORY/NAME-N, or to
# nothing, and ts_odd to one above MAX, which no agent has made.
ts_look() {
    ts_high=
    ts_odd=
    for ts_entry in "$1/$2"-*; do
        ts_number=${ts_entry#"$1/$2-"}
        case $ts_number in 0) ;; '' | 0* | *[!0-9]*) continue ;; esac
        # A directory may be renamed meanwhile, so that nothing is there.
        if [ -f "$ts_entry" ]; then continue; fi
        if ts_above "$ts_number" "$3"; then
            ts_odd=$ts_number
        elif [ -z "$ts_high" ] || ts_above "$ts_number" "$ts_high"; then
            ts_high=$ts_number
        fi
    done
}
# ts_see DIRECTORY NAME MAX: like ts_look, and refuses numbers above MAX.
ts_see() {
    ts_look "$@"
    [ -n "$ts_odd" ] || return 0
    if [ -n "$ts_high" ]; then
        ts_refuse "$1/$2-$ts_odd is not tagship's, its number is a time far ahead: if no other agent releases to $ts_at, delete it (rm -rf $1/$2-$ts_odd), then retry"
    fi
    ts_refuse "$1/$2-$ts_odd has a number that is a time far ahead: if no other agent releases to $ts_at, rename it (mv -T $1/$2-$ts_odd $1/$2-0), then retry"
}
# ts_take DIRECTORY NAME N MAX: renames the existing one to NAME-N. 0: done; 1: a higher one exists;
# 2: neither, with ts_error. A listing during a concurrent rename may show nothing: retry.
ts_take() {
    ts_tries=0
    ts_error="$1 holds no $2"
    while [ "$ts_tries" -lt 100 ]; do
        ts_tries=$((ts_tries + 1))
        ts_see "$1" "$2" "$4"
        if [ "$ts_high" = "$3" ]; then return 0; fi
        if [ -n "$ts_high" ]; then
            if ts_above "$ts_high" "$3"; then return 1; fi
            ts_error=$(mv -fT -- "$1/$2-$ts_high" "$1/$2-$3" 2>&1) && return 0
        fi
    done
    return 2
}
ts_no_fence() {
    case $ts_error in
    *' holds no '*)
        # What cannot be read looks empty.
        ts_see_denied || ts_refuse "cannot take fence $ts_fence in $ts_base: $ts_error; if that directory was emptied, run: mkdir -p $ts_base/fence-0/turn-0 $ts_base/journal $ts_base/manifests"
        ts_error="$ts_denied: Permission denied"
        ;;
    esac
    ts_refuse "cannot take fence $ts_fence in $ts_base: $ts_error"
}
# Reports why our directory is gone. Never returns.
ts_overtaken() {
    ts_see "$ts_base" fence "$ts_fence_max"
    if [ -n "$ts_high" ] && ts_above "$ts_high" "$ts_fence"; then
        ts_say "fenced $ts_high"
        ts_done
    fi
    ts_see "$ts_base/fence-$ts_fence" turn "$ts_turn_max"
    ts_say "overtaken ${ts_high:-0}"
    ts_done
}
# ts_rename FROM TO: the only way to put anything in place; FROM or TO is in $ts_mine.
ts_rename() {
    ts_error=$(mv -fT -- "$1" "$2" 2>&1) && return 0
    if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
    ts_refuse "cannot rename $1 to $2: $ts_error"
}
# ts_holds_mount PATH: whether something is mounted in it. Then sets ts_error.
ts_holds_mount() {
    ts_see_mount "$1"
    [ -n "$ts_mount" ] && ts_error="$1: $ts_mount is mounted"
}
# ts_remove PATH: deletes; if that fails, first makes our own directories writable (a process of an
# earlier script may still add to them, too). 1: something is left, with ts_error. A directory that
# contains a mount is not deleted until it is unmounted.
ts_remove() {
    ts_holds_mount "$1" && return 1
    rm -rf -- "$1" 2>/dev/null && return 0
    find "$1" -type d ! -perm -700 -exec chmod u+rwx -- {} \; 2>/dev/null
    ts_error=$(rm -rf -- "$1" 2>&1)
}
# Sets ts_free to PATH, or to PATH.N if that exists.
ts_find_free() {
    ts_free=$1
    ts_copies=1
    while [ -e "$ts_free" ] || [ -L "$ts_free" ]; do
        ts_copies=$((ts_copies + 1))
        ts_free=$1.$ts_copies
    done
}
ts_make_trash() { [ -d "$ts_base/trash" ] || mkdir -m 700 -- "$ts_base/trash" 2>/dev/null; }
# Removes something in $ts_mine. A failed deletion is never an error: it is moved to the trash,
# outside every fence and sync, and `prune` retries and reports it.
ts_discard() {
    ts_remove "$1" && return 0
    ts_make_trash
    ts_spot=${1##*/}
    ts_find_free "$ts_base/trash/${ts_spot#old-}"
    mv -fT -- "$1" "$ts_free" 2>/dev/null || [ -d "$ts_mine" ] || ts_overtaken
}
# ts_away PATH: renames something into $ts_mine, as $ts_free. 1: it cannot be renamed, with
# ts_error.
ts_away() {
    ts_holds_mount "$1" && return 1
    ts_find_free "$ts_mine/old-${1##*/}"
    mv -fT -- "$1" "$ts_free" 2>/dev/null && return 0
    # Moving a directory writes to it.
    [ -L "$1" ] || chmod u+rwx -- "$1" 2>/dev/null
    ts_error=$(mv -fT -- "$1" "$ts_free" 2>&1) && return 0
    [ -d "$ts_mine" ] || ts_overtaken
    return 1
}
ts_paths() {
    ts_base=$ts_at/.tagship
    ts_mine=$ts_base/fence-$ts_fence/turn-$ts_turn
    ts_part=$ts_base/fence-$ts_fence/partial
    ts_temp=$ts_base/fence-$ts_fence/temporary
}
# Makes $ts_base with the lowest fence, if it does not exist.
ts_make_base() {
    [ ! -d "$ts_base" ] || return 0
    ts_new=$ts_at/.tagship.new.$$
    ts_error=$(mkdir -p -- "$ts_new/fence-0/turn-0" "$ts_new/journal" "$ts_new/manifests" 2>&1 &&
        chmod 700 "$ts_new/journal" 2>&1) ||
        ts_refuse "cannot write in $ts_at: $ts_error; let $(id -un) write there (chown $(id -un) $ts_at)"
    mv -T -- "$ts_new" "$ts_base" 2>/dev/null || rm -rf -- "$ts_new"
}
# Takes fence and sequence number. After it, $ts_mine is ours.
ts_own() {
    ts_paths
    ts_make_base
    ts_take "$ts_base" fence "$ts_fence" "$ts_fence_max"
    case $? in
    1)
        ts_say "fenced $ts_high"
        ts_done
        ;;
    2) ts_no_fence ;;
    esac
    ts_take "$ts_base/fence-$ts_fence" turn "$ts_turn" "$ts_turn_max"
    case $? in
    1) ts_overtaken ;;
    2)
        if [ ! -d "$ts_base/fence-$ts_fence" ]; then ts_overtaken; fi
        ts_no_fence
        ;;
    esac
}
