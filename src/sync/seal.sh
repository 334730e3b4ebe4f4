# ts_release ts_wanted: the release and its digest. ts_owner: to whom the files belong, or nothing.
# Complete is what has directory and manifest. The manifest comes to stand first: a script that is
# cut off between the two leaves a manifest of nothing, which means nothing and is written again.
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
        ts_refuse "$ts_dir stands already and is not this release: retry the sync step"
    fi
    if [ -d "$ts_part" ]; then
        if [ -e "$ts_mine/sealing" ]; then ts_discard "$ts_mine/sealing"; fi
        ts_rename "$ts_part" "$ts_mine/sealing"
    fi
    [ -d "$ts_mine/sealing" ] || ts_refuse "$ts_part is gone: retry the sync step"
    if [ -n "$ts_owner" ]; then
        ts_error=$(chown -Rh -- "$ts_owner" "$ts_mine/sealing" 2>&1) ||
            ts_refuse "cannot give the release to $ts_owner: $(printf '%s' "$ts_error" | head -n 1); log in as root, or take owner out of the environment"
    fi
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
