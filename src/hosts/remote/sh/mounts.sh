# ts_see_mount DIRECTORY: sets ts_mount to something that is mounted at it or below it, to nothing where
# there is none. Whoever deletes that directory deletes what is mounted there.
ts_see_mount() {
    ts_mount=
    if [ -L "$1" ] || [ ! -d "$1" ]; then return 0; fi
    # As the kernel writes it.
    ts_under=$(readlink -f -- "$1" | sed -e 's/\\/\\134/g' -e 's/ /\\040/g')
    ts_mount=$(grep -F -e " $ts_under" /proc/self/mountinfo 2>/dev/null | cut -d ' ' -f 5 |
        while IFS= read -r ts_point; do
            case $ts_point in "$ts_under" | "$ts_under"/*) printf '%s\n' "$ts_point" ;; esac
        done | head -n 1)
}
