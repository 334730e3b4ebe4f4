# Changes nothing.
ts_main() {
    ts_base=$ts_at/.tagship
    if [ -d "$ts_at" ] && ! { [ -r "$ts_at" ] && [ -x "$ts_at" ]; }; then
        ts_refuse "$(id -un) may not read $ts_at"
    fi
    ts_see_live
    ts_look "$ts_base" fence
    if [ "$ts_high" -lt 0 ] && [ -d "$ts_base" ]; then ts_look "$ts_base" fence; fi
    if [ "$ts_high" -lt 0 ]; then ts_high=0; fi
    ts_say_standing "$ts_high"
    ts_done
}
