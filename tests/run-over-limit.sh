#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A program whose unmanageable memory (here: stacks) is larger than the limit is
# slow, goes on, and is told about; it is neither stuck nor killed.
source "$(dirname "$0")/functions.sh"

code=0
timeout 60 "$uzswap" run --memory 16M --stats-json "$work/json" -- \
  "$programs/unmanaged_stack" 24 >"$work/out" 2>"$work/stderr" || code=$?
cat "$work/stderr"
[ $code = 0 ] || fail "ended with $code"
[ "$(cat "$work/out")" = "0 wrong" ] || fail "$(cat "$work/out")"
grep -q 'warning .*limit had to be exceeded' "$work/stderr" || fail "no warning"
[ "$(json "$work/json" "['totals']['limit_exceeded']")" -gt 0 ] || fail "JSON"
