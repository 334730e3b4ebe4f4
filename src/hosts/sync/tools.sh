# The programs of the scripts, apart from rsync, and from setsid of util-linux.
ts_tool_names='cat chmod chown cp cut date dd df env find grep head id ln mkdir mkfifo mv readlink rm rmdir sed sha256sum sleep sort stat sync tail tee timeout touch tr uniq wc xargs'
