# shellcheck shell=bash
# What tools/* share: one locale, a HOME, and where things lie. Sourced, after `set -eu`.

export LC_ALL=C.UTF-8

# A CI machine may close stdin or set no HOME.
if ! { : <&0; } 2>/dev/null; then exec </dev/null; fi
if [ -z "${HOME:-}" ] || [ ! -w "$HOME" ]; then
    HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
    if [ -z "$HOME" ] || [ ! -w "$HOME" ]; then HOME=${TMPDIR:-/tmp}; fi
    export HOME
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# tools/guest.d/cache.py computes the same folder: keep the two in step.
# shellcheck disable=SC2034  # for those who source this
cache=${CUSE_SCULLV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cuse-scullv}
PATH=$root/.venv/bin:$PATH:/usr/sbin:/sbin
export PATH

note() { printf '%s: %s\n' "tools/$(basename "$0")" "$*" >&2; }
die() { note "$*"; exit 1; }

# shellcheck disable=SC2016  # apt expands it
debian_mirror() { # the one that this system uses, where it uses one
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        grep -m 1 '/debian/$' || true)
    echo "${mirror:-http://deb.debian.org/debian/}"
}
