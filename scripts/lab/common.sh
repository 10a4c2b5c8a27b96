# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by those who source it
# What the lab's scripts share: where things are, how they speak, how they end.

lab_home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab_cache=${ZOUTBOX_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set, and neither is ZOUTBOX_LAB_CACHE}/.cache}/zoutbox-lab}

# Beyond what a command killed by a signal ends with (128 + signal), so that a command's own status rarely looks like one.
readonly exit_usage=64
readonly exit_lab=240      # this host can't build or start the lab
readonly exit_died=241     # the guest died, or what came back is not whole
readonly exit_limit=242    # the time limit was reached
readonly exit_cut=243      # the power was cut, as asked
readonly exit_not_up=244   # the guest booted, but pool, server or a mount did not come up

say() { printf 'lab.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit "$exit_lab"; }
wrong_usage() { say "$@" "(lab.sh --help tells how)"; exit "$exit_usage"; }

# One line a step, with the seconds since the build began.
step() { printf 'lab.sh: [%4d s] %s\n' "$(($(date +%s) - ${LAB_BEGAN:-$(date +%s)}))" "$*" >&2; }

# A name for what the given files and words are.
digest() { sha256sum | cut -c1-16; }

# Whatever fails without a word of its own must not end with a status that looks like a command's.
set -E
trap 'die "${0##*/} failed at line $LINENO"' ERR
