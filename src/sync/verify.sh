# ts_release ts_wanted: the release and its digest.
ts_main() {
    ts_dir=$ts_at/releases/$ts_release
    [ -d "$ts_dir" ] || ts_refuse "release $ts_release no longer stands in $ts_at/releases: release that commit under a new tag"
    ts_own
    ts_digest "$ts_dir"
    [ "$ts_sum" = "$ts_wanted" ] || ts_refuse "$ts_dir differs from what was released: something wrote into it (what a service writes belongs in $ts_at/shared); release that commit under a new tag"
    ts_recorded "$ts_release"
    [ "$ts_digest_recorded" = "$ts_wanted" ] || ts_record "$ts_release" "$ts_wanted"
    ts_say verified
    ts_done
}
