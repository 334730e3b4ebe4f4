# ts_release: what becomes live: a name in releases, or the text of a foreign link (with a slash).
# ts_over: what may be live before, one per line. ts_key: names the switch. ts_kept: accept the
# release as it is, and compare it with its manifest once it is live; ts_walk lists its tree. The
# previously live release is recorded on disk before the switch. A record without its last newline
# is invalid: nothing was switched under it yet. On a full disk the record is the text of a link,
# which needs no block: a switch to a kept release must not need space.
ts_see_record() {
    ts_was=
    if [ -L "$ts_base/journal/$ts_key" ]; then
        ts_was=$(readlink -n -- "$ts_base/journal/$ts_key")
    else
        [ -f "$ts_base/journal/$ts_key" ] || return 1
        IFS= read -r ts_was <"$ts_base/journal/$ts_key" || return 1
    fi
    case $ts_was in
    'was -') ts_was= ;;
    'was '*) ts_was=${ts_was#was } ;;
    *) return 1 ;;
    esac
}
ts_write_record() {
    ts_error=$({ printf 'was %s\n' "${ts_was:--}" >"$ts_mine/was"; } 2>&1) && return 0
    rm -f -- "$ts_mine/was"
    ts_error=$(ln -s -- "was ${ts_was:--}" "$ts_mine/was" 2>&1)
}
ts_write_link() { ts_error=$(ln -s -- "$ts_link" "$ts_mine/current" 2>&1); }
# A switch needs an inode for its record and one for the new link. If none are left, frees what is no
# longer queried or is made again: the oldest record of another task, and the empty directory for
# transfers. 1: the error has another cause.
ts_make_room() {
    case $ts_error in *'No space left on device'* | *'Disk quota exceeded'*) ;; *) return 1 ;; esac
    rmdir -- "$ts_temp" 2>/dev/null
    ts_oldest=$(find "$ts_base/journal" -mindepth 1 -maxdepth 1 ! -type d ! -name "${ts_key%%-*}-*" -printf '%T@ %f\n' 2>/dev/null |
        sort -n | head -n 1)
    if [ -n "$ts_oldest" ]; then rm -f -- "$ts_base/journal/${ts_oldest#* }"; fi
}
# In the concatenated lists, every unchanged file occurs twice.
ts_see_differing() {
    { tail -n +2 -- "$ts_base/manifests/$ts_release" && cat -- "$ts_mine/listing"; } | tr '\n\0' '?\n' |
        sort | uniq -u | sed -e 's/^f [0-7]* [0-9]* [-0-9.]* //' -e t -e '/^l /{' -e 's,//.*,,' -e 's/^l //' -e t -e '}' -e 's/^o . //' |
        tr '\001-\011\013-\037\177' '?' | sort -u
}
ts_compare() {
    [ -n "$ts_kept" ] && [ -n "$ts_digest_recorded" ] || return 0
    if [ ! -r "$ts_dir" ] || [ ! -x "$ts_dir" ]; then
        ts_say 'differ 0'
        return 0
    fi
    command -v timeout >/dev/null || {
        ts_say 'uncompared the host has no timeout: install coreutils there'
        return 0
    }
    # A slow walk delays the steps after the switch.
    (cd -- "$ts_dir" && timeout 20 sh -c "$ts_walk") 2>/dev/null >"$ts_mine/listing" || {
        case $? in
        124) ts_say 'uncompared listing its files takes over 20 s' ;;
        *) ts_say 'uncompared its files cannot all be listed' ;;
        esac
        return 0
    }
    ts_sum=$(sha256sum <"$ts_mine/listing")
    [ "${ts_sum%% *}" != "$ts_digest_recorded" ] || return 0
    # Earlier versions kept no listing; one byte is enough to detect one.
    if [ -z "$(tail -n +2 -- "$ts_base/manifests/$ts_release" | head -c 1)" ]; then
        ts_say 'differ 0'
        return 0
    fi
    ts_see_differing 2>/dev/null >"$ts_mine/differing"
    ts_say "differ $(($(wc -l <"$ts_mine/differing")))"
    head -n 5 -- "$ts_mine/differing" | cut -b 1-300 | while IFS= read -r ts_name; do
        ts_say "differing $ts_name"
    done
}
ts_main() {
    [ -d "$ts_at" ] || ts_refuse "$ts_at does not exist: the sync step comes before publish"
    ts_own
    ts_see_live
    ts_break='
'
    case $ts_break$ts_release$ts_break$ts_over$ts_break in
    *"$ts_break$ts_live$ts_break"*) ;;
    *)
        # A later fence would have stopped us, so this was switched before our fence.
        if [ -n "$ts_live" ]; then
            ts_say "occupied $ts_live"
            ts_done
        fi
        ;;
    esac
    ts_see_target
    if ! ts_see_record; then
        ts_was=$ts_live
        [ -d "$ts_base/journal" ] || mkdir -m 700 -- "$ts_base/journal" 2>/dev/null
        ts_write_record || { ts_make_room && ts_write_record; } || {
            if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
            ts_refuse "cannot write $ts_mine/was: $ts_error"
        }
        ts_rename "$ts_mine/was" "$ts_base/journal/$ts_key"
        ts_sync "$ts_base/journal/$ts_key" "$ts_base/journal"
    fi
    if [ "$ts_live" != "$ts_release" ]; then
        if [ -L "$ts_mine/current" ]; then rm -f -- "$ts_mine/current"; fi
        ts_write_link || { ts_make_room && ts_write_link; } || {
            if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
            ts_refuse "cannot make $ts_mine/current: $ts_error"
        }
        ts_rename "$ts_mine/current" "$ts_at/current"
        ts_live=$ts_release
    fi
    ts_sync "$ts_at"
    ts_say "was ${ts_was:--}"
    ts_compare
    rm -f -- "$ts_mine/listing" "$ts_mine/differing"
    ts_say_host_state "$ts_fence"
    ts_done
}
