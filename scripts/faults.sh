# shellcheck shell=bash
# For scripts that inject faults, to be sourced: what was injected, and what was then seen to hold, becomes a line in the file that ZOUTBOX_FAULTS
# names. Without that nothing is written. crates/zoutbox-test-support/src/faults.rs says what a line is; scripts/reliability.sh reads them.

# Programs run elsewhere than where the name was given.
if [[ -n ${ZOUTBOX_FAULTS:-} && $ZOUTBOX_FAULTS != /* ]]; then export ZOUTBOX_FAULTS=$PWD/$ZOUTBOX_FAULTS; fi

json_text() { # TEXT, which has no control characters
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

injected() { # SUITE HITS FAULT HOW TIMES OUTCOME; not before the checks have passed
    [[ -n ${ZOUTBOX_FAULTS:-} ]] || return 0
    local line
    line=$(printf '{"suite":%s,"hits":%s,"fault":%s,"how":%s,"times":%d,"outcome":%s}' \
        "$(json_text "$1")" "$(json_text "$2")" "$(json_text "$3")" "$(json_text "$4")" "$5" "$(json_text "$6")")
    printf '%s\n' "$line" >>"$ZOUTBOX_FAULTS"
}

# Passes its input on, but for what programs inside a guest said that they injected: that goes to the file.
take_injected() {
    [[ -n ${ZOUTBOX_FAULTS:-} ]] || { cat; return; }
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line =~ ^(.*)injected:\ (\{.*\})$'\r'?$ ]]; then
            printf '%s\n' "${BASH_REMATCH[2]}" >>"$ZOUTBOX_FAULTS"
            # A test's name may stand in front of it.
            if [[ -n ${BASH_REMATCH[1]} ]]; then printf '%s' "${BASH_REMATCH[1]}"; fi
        else
            printf '%s\n' "$line"
        fi
    done
}
