#!/usr/bin/env bash
# The bill of health, docs/reliability.md: which faults were injected how often, and what held. Its tables are made of the results of a run, which
# are kept beside it in docs/reliability.jsonl.
#
#   scripts/reliability.sh --run [COMMAND [ARG...]]    runs the suites, or this command, and makes the page of what they inject
#   scripts/reliability.sh --from FILE [HOW]           makes it of results that are there; HOW: the command that made them, if FILE does not say
#
# ZOUTBOX_FAULTS=FILE in front of any of the suites leaves results in FILE, at its end:
#
#   ZOUTBOX_FAULTS=results scripts/test.sh && ZOUTBOX_FAULTS=results scripts/sim.sh --mutants
#   scripts/reliability.sh --from results 'scripts/test.sh && scripts/sim.sh --mutants'
#
# Exit codes: 0 the page is written; 1 a suite failed, and nothing is; other codes: the script could not do its work.
set -euo pipefail

die() { printf 'reliability.sh: %s\n' "$*" >&2; exit 2; }
# shellcheck source=scripts/faults.sh
. "$(dirname "$(realpath "$0")")/faults.sh"

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }

# What injects faults: parts of scripts/test.sh, and the mutants, which take too long to be one.
suites() {
    local -a parts=(unit integration current sim demo lab)
    local more
    for more in fuzz torture; do
        if scripts/test.sh --help | grep -q "^  $more "; then parts+=("$more"); fi
    done
    printf '%s' "scripts/test.sh ${parts[*]} && scripts/sim.sh --mutants"
}

# Which commit, and whether it was that alone.
commit() {
    local changed
    changed=$(git status --porcelain -- . ':!docs')
    printf '%s' "$(git rev-parse --short=10 HEAD)${changed:+ with changes that were not committed}"
}

ran() { # FILE DATE COMMAND
    [[ -s $1 ]] || die "nothing was injected: $1 is empty"
    printf '{"run":{"date":%s,"commit":%s,"command":%s}}\n' "$(json_text "$2")" "$(json_text "$(commit)")" "$(json_text "$3")" >>"$1"
}

write() { # RESULTS
    local page
    page=$(mktemp)
    cargo run --quiet --locked -p zoutbox-test-support --example reliability -- docs/reliability.md "$1" >"$page" || { rm -f "$page"; die "the page was not written"; }
    cat "$page" >docs/reliability.md
    rm -f "$page"
    [[ $1 -ef docs/reliability.jsonl ]] || cat "$1" >docs/reliability.jsonl
    printf 'docs/reliability.md is written\n'
}

run() { # COMMAND...
    local results date command=$*
    (($# > 0)) || command=$(suites)
    (($# > 0)) || set -- bash -c "$command"
    results=$(mktemp)
    date=$(date -u +%F)
    if ! ZOUTBOX_FAULTS=$results "$@"; then
        printf 'reliability.sh: a suite failed; what it had injected until then is in %s, and the page stays as it was\n' "$results" >&2
        exit 1
    fi
    ran "$results" "$date" "$command"
    write "$results"
    rm -f "$results"
}

from() { # FILE [HOW]
    local results
    [[ -r $1 ]] || die "cannot be read: $1"
    results=$(realpath "$1")
    cd "$root"
    if ! grep -q '^{"run":' "$results"; then
        [[ -n ${2:-} ]] || die "$1 does not say how it was made; give the command as another argument"
        ran "$results" "$(date -u -r "$results" +%F)" "$2"
    fi
    write "$results"
}

root=$(realpath "$(dirname "$(realpath "$0")")/..")
case ${1:-} in
    --help | -h) usage ;;
    --run) shift; cd "$root"; run "$@" ;;
    --from) (($# == 2 || $# == 3)) || die "--from takes a file, and the command that made it"; from "${@:2}" ;;
    *) usage >&2; exit 64 ;;
esac
