# ts_see_mount DIRECTORY: sets ts_mount to a mount at or below it, or to nothing. Deleting the
# directory would delete the content of the mount.
ts_see_mount() {
    ts_mount=
    if [ -L "$1" ] || [ ! -d "$1" ]; then return 0; fi
    # In the notation of the kernel.
    ts_under=$(readlink -f -- "$1" | sed -e 's/\\/\\134/g' -e 's/ /\\040/g')
    ts_mount=$(grep -F -e " $ts_under" /proc/self/mountinfo 2>/dev/null | cut -d ' ' -f 5 |
        while IFS= read -r ts_point; do
            case $ts_point in "$ts_under" | "$ts_under"/*) printf '%s\n' "$ts_point" ;; esac
        done | head -n 1)
}
# ts_see_disk DIRECTORY: sets ts_disk to its file system and mount. A rename stays within both.
ts_see_disk() {
    ts_disk=$({ stat -Lc %d -- "$1" && grep mnt_id /proc/self/fdinfo/3 3<"$1"; } 2>/dev/null)
}
