#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# stress-ng checks every pattern it writes; memory at half of what it uses.
source "$(dirname "$0")/functions.sh"
requires stress-ng

seconds=20
[ "$size" = full ] && seconds=300
cd "$work"
run_as_user "$sampler" "$work/peak" -- "$uzswap" run --memory 32M \
  --backing "$work" -- stress-ng --vm 2 --vm-bytes 128M --vm-method all \
  --verify -t $seconds --temp-path "$work" >"$work/out" 2>&1 ||
  fail "$(tail -30 "$work/out")"
cat "$work/out"
! grep -qiE 'fail(ed|ure)?:|error detected|bit error' "$work/out" ||
  fail "stress-ng found an error"
grep -q 'successful run completed' "$work/out" || fail "not completed"
expect_peak "$work/peak" 32768
