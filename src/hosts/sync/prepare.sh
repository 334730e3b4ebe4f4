# ts_release ts_wanted: the release and its digest. ts_from ts_from_digest: the base, or nothing.
# ts_inodes: whether the files of the copy are hard links (`shared`) or separate files (`own`).
# ts_removed: what to delete from the copy, recursively. ts_shared: directories that must exist;
# ts_shared_files: files that should. ts_kept: accept an existing release as it is; if it is `found`,
# the release must exist, and nothing is made. It may be the text of a foreign link.
ts_deploy_to() {
    [ -d "$ts_at" ] || ts_error=$(mkdir -p -- "$ts_at" 2>&1) || [ -d "$ts_at" ] ||
        ts_refuse "cannot make $ts_at: $ts_error; make it once, for $(id -un): mkdir -p $ts_at && chown $(id -un) $ts_at"
    [ -w "$ts_at" ] && [ -x "$ts_at" ] || {
        # The kernel reports the reason: permissions, or a file system mounted read-only.
        case $(touch -- "$ts_at" 2>&1) in
        *'Read-only file system'*) ts_refuse "cannot write in $ts_at: Read-only file system" ;;
        *'not permitted'*) ts_refuse "cannot write in $ts_at: it is immutable; as root on the host, run: chattr -i $ts_at" ;;
        esac
        ts_refuse "$(id -un) may not write in $ts_at: chown $(id -un) $ts_at"
    }
}
# Without `-p`: it would recreate the directory of a lost fence.
ts_directories() {
    for ts_entry in "$ts_at/releases" "$ts_at/shared" "$ts_base/manifests" "$ts_temp"; do
        [ -d "$ts_entry" ] || ts_error=$(mkdir -- "$ts_entry" 2>&1) || [ -d "$ts_entry" ] || {
            if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
            ts_see_there "$ts_entry"
            ts_refuse "cannot make $ts_entry: ${ts_fault:-$ts_error}"
        }
    done
    ts_error=$(printf '%b' "$ts_shared" | tr '\0' '\n' | ts_make_shared) ||
        ts_refuse "cannot make the shared directories in $ts_at/shared: $ts_error"
}
# What exists is kept: it may be a file.
ts_make_shared() {
    while IFS= read -r ts_entry; do
        if ts_see_there "$ts_at/shared/${ts_entry#./}"; then continue; fi
        if [ -n "$ts_fault" ]; then
            printf '%s' "$ts_fault"
            return 1
        fi
        mkdir -p -- "$ts_at/shared/${ts_entry#./}" 2>&1 || return 1
    done
}
# Without one file system, a rename is a copy: not at once, and without shared files.
ts_see_disks() {
    ts_see_disk "$ts_mine"
    ts_own_disk=$ts_disk
    ts_see_disk "$ts_at"
    if [ "$ts_disk" != "$ts_own_disk" ]; then
        if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
        ts_refuse "$ts_base is on another file system than $ts_at, so current cannot be switched by a rename: put both on one file system, or let deploy_to name another directory"
    fi
    ts_see_disk "$ts_at/releases"
    ts_apart=
    [ "$ts_disk" = "$ts_own_disk" ] || ts_apart=yes
}
# Reports missing shared files, and directories in their place. One that is not visible is missing.
ts_say_missing() {
    printf '%b' "$ts_shared_files" | tr '\0' '\n' | while IFS= read -r ts_entry; do
        ts_entry=${ts_entry#./}
        if ! ts_see_there "$ts_at/shared/$ts_entry"; then
            printf 'missing %s\t%s\n' "$ts_entry" "$ts_fault"
        elif [ -d "$ts_at/shared/$ts_entry" ]; then
            printf 'directory %s\n' "$ts_entry"
        fi
    done
}
# ts_aside PATH: a rename within its directory needs no right to PATH itself, and what is mounted in it
# stays. `prune` tries to delete it. 1: it cannot be renamed either, with ts_error.
ts_aside() {
    ts_find_free "$ts_base/fence-$ts_fence/left-${1##*/}"
    ts_error=$(mv -fT -- "$1" "$ts_free" 2>&1) && return 0
    [ -d "$ts_mine" ] || ts_overtaken
    return 1
}
# Leftovers of earlier attempts are renamed away before deletion: nothing is ever half deleted.
ts_clear() {
    for ts_entry in "$ts_part" "$ts_temp"; do
        if [ -e "$ts_entry" ] || [ -L "$ts_entry" ]; then
            ts_away "$ts_entry" || ts_aside "$ts_entry" ||
                ts_refuse "cannot rename $ts_entry: $ts_error; delete it as root on the host (chattr -R -i or umount first), then retry"
        fi
    done
    for ts_entry in "$ts_mine"/*; do
        if [ -e "$ts_entry" ] || [ -L "$ts_entry" ]; then ts_discard "$ts_entry"; fi
    done
}
# Checks whether the release is complete. One that exists but differs is removed, unless it is live.
ts_see_staged() {
    ts_staged=
    [ -d "$ts_at/releases/$ts_release" ] || return 0
    ts_digest "$ts_at/releases/$ts_release"
    if [ "$ts_sum" = "$ts_wanted" ]; then
        ts_recorded "$ts_release"
        [ "$ts_digest_recorded" = "$ts_wanted" ] || ts_record "$ts_release" "$ts_wanted"
        ts_staged=yes
        return 0
    fi
    if [ "$ts_release" = "$ts_within" ]; then
        ts_refuse "$ts_at/releases/$ts_release is live, and differs from what was released: something wrote into it (what a service writes belongs in $ts_at/shared); release under a new tag"
    fi
    ts_away "$ts_at/releases/$ts_release" ||
        ts_refuse "cannot rename $ts_at/releases/$ts_release: $ts_error; delete it as root on the host, then retry"
    ts_gone=$ts_free
    if [ -e "$ts_base/manifests/$ts_release" ]; then
        ts_rename "$ts_base/manifests/$ts_release" "$ts_mine/old-manifest"
    fi
    ts_discard "$ts_gone"
}
# Copies the files of the live release, if unchanged since its release, minus those to delete. The
# copy is verified, not the release: only we write into the copy. Its directories are new: the
# service may have changed modes and owners of those of the live release.
ts_copy() {
    case $ts_inodes in
    own) set -- --preserve=mode,timestamps --reflink=auto ;;
    *) set -- -l ;;
    esac
    # The release may be a link to another directory, and something may be mounted in it.
    ts_see_mount "$ts_at/releases/$ts_from/."
    if [ -n "$ts_mount" ]; then set -- -x "$@"; fi
    { mkdir -- "$ts_mine/copy" && cp -RP "$@" -- "$ts_at/releases/$ts_from/." "$ts_mine/copy"; } 2>/dev/null || return 1
    ts_digest "$ts_mine/copy"
    [ "$ts_sum" = "$ts_from_digest" ] || return 1
    [ -n "$ts_removed" ] || return 0
    (cd -- "$ts_mine/copy" && printf '%b' "$ts_removed" | xargs -0 rm -rf --) 2>/dev/null
}
ts_prepare() {
    ts_deploy_to
    ts_own
    ts_see_live
    if [ "$ts_kept" = found ]; then ts_see_target; fi
    # The target of a rollback is neither walked nor changed.
    if [ "$ts_kept" = found ] || { [ -n "$ts_kept" ] && [ -d "$ts_at/releases/$ts_release" ]; }; then
        ts_say_host_state "$ts_fence"
        ts_say_current
        ts_say staged
        ts_done
    fi
    ts_clear
    ts_directories
    ts_see_disks
    ts_see_staged
    ts_based=
    if [ -z "$ts_staged" ]; then
        if [ -n "$ts_from" ] && [ "$ts_from" = "$ts_live" ] && ts_copy; then
            ts_based=yes
        else
            ts_discard "$ts_mine/copy"
            ts_error=$(mkdir -- "$ts_mine/copy" 2>&1) || {
                if [ ! -d "$ts_mine" ]; then ts_overtaken; fi
                ts_refuse "cannot make $ts_mine/copy: $ts_error"
            }
        fi
        ts_rename "$ts_mine/copy" "$ts_part"
    fi
    ts_say_host_state "$ts_fence"
    ts_say_current
    ts_say_missing
    if [ -n "$ts_apart" ]; then ts_say apart; fi
    if [ -n "$ts_staged" ]; then ts_say staged; fi
    if [ -n "$ts_based" ]; then ts_say based; fi
    ts_done
}
# Checks for programs and GNU-only features, before anything is changed.
ts_tools() {
    for ts_tool in $ts_tool_names; do
        command -v "$ts_tool" >/dev/null 2>&1 ||
            ts_refuse "the host has no $ts_tool: install coreutils, findutils, sed and grep there"
    done
    find / -maxdepth 0 -printf '' >/dev/null 2>&1 ||
        ts_refuse "find on the host is missing or not GNU's (busybox has no -printf); install GNU findutils there"
    printf '' | sort -z >/dev/null 2>&1 ||
        ts_refuse "sort on the host is missing or not GNU's (no -z); install GNU coreutils there"
}
ts_main() {
    # A rollback to a kept release needs none of them before its switch.
    case $ts_kept in
    found) [ -d "$ts_at" ] || ts_refuse "$ts_at does not exist, so there is no $ts_release: nothing can be switched there" ;;
    *) if [ -z "$ts_kept" ] || [ ! -d "$ts_at/releases/$ts_release" ]; then ts_tools; fi ;;
    esac
    ts_prepare
}
