# ts_key: names an attempt that is known to have begun. ts_offset: where its output goes on. Starts
# nothing: where no journal tells of the attempt any more, somebody has deleted it.
ts_main() {
    ts_paths
    ts_dir=$ts_base/journal/$ts_key
    ts_see_boot
    if [ ! -d "$ts_dir" ]; then
        ts_say unknown
        ts_done
    fi
    ts_follow
}
