{
ts_locale=${LC_ALL-}
LC_ALL=C
export LC_ALL
ts_begin
[ "${ts_whole-}" = yes ] ||
    ts_refuse "a startup file of the login (.bashrc, .ssh/rc) reads the standard input, on which the script comes: let it read nothing where the shell is not interactive"
[ -z "${ZSH_VERSION-}" ] ||
    ts_refuse "a startup file of the login (.bashrc) replaces the shell by zsh, which does not do what sh does: let it do so only where the shell is interactive, or give the user that login shell (chsh)"
ts_main "$@"
exit
} </dev/null
