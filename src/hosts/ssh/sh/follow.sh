# ts_key: names an attempt that is known to have begun. ts_offset: where its output continues.
# Starts nothing: if its journal is missing, it was deleted.
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
