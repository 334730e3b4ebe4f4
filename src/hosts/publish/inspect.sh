# Changes nothing.
ts_main() {
    ts_base=$ts_at/.tagship
    if [ -d "$ts_at" ] && ! { [ -r "$ts_at" ] && [ -x "$ts_at" ]; }; then
        ts_refuse "$(id -un) may not read $ts_at"
    fi
    ts_see_current
    ts_look "$ts_base" fence 9223372036854775807
    if [ -z "$ts_high" ] && [ -d "$ts_base" ]; then ts_look "$ts_base" fence 9223372036854775807; fi
    ts_say_host_state "${ts_high:-0}"
    ts_say_current
    ts_done
}
