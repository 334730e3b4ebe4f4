# ts_release ts_wanted: the release and its digest. ts_owner: the owner of the files, or nothing.
# A release is complete when its directory and manifest exist. The manifest is put in place first: a
# script interrupted between the two leaves a manifest only, which is ignored and written again.
# A release has the directories of its files and no others, all with the same mode: changes of the
# service to the directories of the live release are not inherited.
ts_settle_directories() {
    # Octal modes would leave set-gid. One directory at a time where it must become readable first.
    find "$ts_mine/sealing" -type d \( ! -perm -0700 -exec chmod u=rwx,go=rx,a-st -- {} \; \
        -o \( ! -perm -0755 -o -perm /7022 \) -exec chmod u=rwx,go=rx,a-st -- {} + \) 2>/dev/null
    find "$ts_mine/sealing" -mindepth 1 -type d -empty -delete 2>/dev/null
}
# Sets the owner of all files. If that changes a hard-linked file, all files get inodes of their own
# first: it belongs to the live release, too.
ts_settle_owner() {
    if [ -z "$ts_owner" ] && [ "$(id -u)" -eq 0 ]; then ts_owner=0; fi
    [ -n "$ts_owner" ] || return 0
    set -- ! -user "${ts_owner%%:*}"
    case $ts_owner in *:*) set -- "$@" -o ! -group "${ts_owner#*:}" ;; esac
    if [ -n "$(find "$ts_mine/sealing" ! -type d -links +1 \( "$@" \) -print -quit 2>/dev/null)" ]; then
        if [ -e "$ts_mine/own" ]; then ts_discard "$ts_mine/own"; fi
        ts_error=$(cp -RP --preserve=mode,timestamps --reflink=auto -- "$ts_mine/sealing" "$ts_mine/own" 2>&1) || {
            if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
            ts_refuse "cannot copy the release for another owner: $ts_error"
        }
        ts_away "$ts_mine/sealing" || ts_refuse "cannot rename $ts_mine/sealing: $ts_error"
        ts_shared=$ts_free
        ts_rename "$ts_mine/own" "$ts_mine/sealing"
        ts_settle_directories
        ts_discard "$ts_shared"
    fi
    ts_error=$(find "$ts_mine/sealing" \( "$@" \) -exec chown -h -- "$ts_owner" {} + 2>&1) || {
        if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
        ts_refuse "cannot give the release to $ts_owner: $(printf '%s' "$ts_error" | head -n 1); log in as root, or take owner out of the environment"
    }
}
ts_main() {
    [ -d "$ts_at" ] || ts_refuse "$ts_at is gone: retry the sync step"
    ts_own
    ts_dir=$ts_at/releases/$ts_release
    if [ -d "$ts_dir" ]; then
        ts_recorded "$ts_release"
        ts_digest "$ts_dir"
        if [ "$ts_digest_recorded" = "$ts_wanted" ] && [ "$ts_sum" = "$ts_wanted" ]; then
            ts_sync "$ts_base/manifests" "$ts_at/releases"
            ts_say sealed
            ts_done
        fi
        ts_refuse "$ts_dir exists already and is not this release: retry the sync step"
    fi
    if [ -d "$ts_part" ]; then
        if [ -e "$ts_mine/sealing" ]; then ts_discard "$ts_mine/sealing"; fi
        ts_rename "$ts_part" "$ts_mine/sealing"
    fi
    # Through a link, another release would be changed.
    [ -d "$ts_mine/sealing" ] && [ ! -L "$ts_mine/sealing" ] || ts_refuse "$ts_part is gone: retry the sync step"
    ts_settle_directories
    ts_settle_owner
    ts_digest "$ts_mine/sealing"
    if [ "$ts_sum" != "$ts_wanted" ]; then
        if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
        ts_count=$(find "$ts_mine/sealing" ! -type d 2>/dev/null | wc -l)
        ts_refuse "what arrived on the host is not what was sent: $((ts_count)) files with digest ${ts_sum:-of nothing}, expected $ts_wanted (a mask, an ACL or another program may change them); nothing was switched, retry the sync step"
    fi
    sync -f "$ts_mine/sealing" 2>/dev/null || sync
    ts_record "$ts_release" "$ts_wanted"
    ts_rename "$ts_mine/sealing" "$ts_dir"
    ts_sync "$ts_base/manifests" "$ts_at/releases"
    ts_say sealed
    ts_done
}
