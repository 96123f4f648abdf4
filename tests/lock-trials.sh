#!/bin/sh
# Trials of the lock: contenders that are killed, stopped, cut off and wrong about the time (tests/lock/trials.lua).
#
#   tests/lock-trials.sh [TRIALS] [SEED] [TTL] [AT-ONCE]     default: 1000 1 1 4
set -eu
cd "$(dirname "$0")/.."
exec "${WSRUN:-build/wsrun}" tests/lock/trials.lua "$@"
