# shellcheck shell=bash
# How the lab's own test counts, on the host and in the guest: one line a check.

passed=0 failed=0

ok() { passed=$((passed + 1)); printf 'ok    %s\n' "$1"; }
not_ok() { failed=$((failed + 1)); printf 'FAIL  %s: %s\n' "$1" "$2"; }

check() { # NAME COMMAND...: COMMAND has to succeed
    local name=$1 status=0
    shift
    "$@" || status=$?
    if ((status == 0)); then ok "$name"; else not_ok "$name" "status $status of: $*"; fi
}

check_not() { # NAME COMMAND...: COMMAND has to fail
    local name=$1
    shift
    if "$@"; then not_ok "$name" "it should have failed: $*"; else ok "$name"; fi
}

check_equal() { # NAME WANTED FOUND
    if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "wanted '$2', found '$3'"; fi
}
