# ts_key: names the attempt. Changes nothing.
ts_main() {
    ts_paths
    ts_dir=$ts_base/journal/$ts_key
    ts_see_boot
    ts_see_state
    while ts_send_output; do :; done
    ts_say_end
}
