# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by those who source it
# What the guest's scripts share: names, addresses and state.

readonly lab_state=/run/lab
readonly pool=tank
readonly dataset=tank/outbox
readonly dataset_path=/tank/outbox
readonly hosts=(alpha beta gamma)
readonly server_address=10.9.0.1
readonly broker_address=10.9.0.200
readonly lease_seconds=10

die() { printf 'lab: %s\n' "$*" >&2; exit 1; }
wrong_usage() { printf 'lab: %s (lab help tells how)\n' "$*" >&2; exit 64; }
