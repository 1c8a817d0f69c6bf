#!/usr/bin/env bash
# Builds the module against the ejabberd that is installed here, and installs it.
#
#     node-modules/ejabberd/install.sh [--into DIRECTORY]
#
# Without --into it goes beside ejabberd's own modules, where ejabberd finds it; that takes root. It needs erlc and the headers of ejabberd and
# of its XMPP library, which Debian's packages ejabberd, erlang-p1-xmpp, erlang-p1-xml and erlang-base bring. Build it again after an
# upgrade of ejabberd. Restart ejabberd, or run `ejabberdctl reload_config`, once it is configured.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}
into=
while [ $# -gt 0 ]; do
    case "$1" in
        --into) into="${2:?a directory}" && shift ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 0 ;;
        *) fail "what is $1?" ;;
    esac
    shift
done
command -v erlc >/dev/null || fail "erlc is missing: apt-get install erlang-base"

# The newest directory of a library, wherever the distribution keeps it.
newest() {
    local found
    found=$(find /usr/lib /usr/local/lib /opt -maxdepth 6 -type f -path "$1" 2>/dev/null | sort -V | tail -n 1)
    [ -n "$found" ] || fail "$2"
    dirname "$found"
}
ejabberd=$(newest '*/ejabberd-*/include/mod_muc_room.hrl' "ejabberd's headers are missing: apt-get install ejabberd")
xmpp=$(newest '*/*xmpp-*/include/xmpp.hrl' "the headers of ejabberd's XMPP library are missing: apt-get install erlang-p1-xmpp")
ebin="$(dirname "$ejabberd")/ebin"
libraries="$(dirname "$(dirname "$ejabberd")"):$(dirname "$(dirname "$xmpp")")"

into="${into:-$ebin}"
mkdir -p "$into" || fail "can't write to $into: run this as root, or say --into DIRECTORY"
[ -w "$into" ] || fail "can't write to $into: run this as root, or say --into DIRECTORY"
ERL_LIBS="$libraries" erlc -Wall -Werror +debug_info -I "$ejabberd" -I "$xmpp" -pa "$ebin" -o "$into" src/*.erl
printf 'built against %s and installed in %s\n' "$(basename "$(dirname "$ejabberd")")" "$into"
