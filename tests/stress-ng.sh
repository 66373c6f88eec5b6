#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# stress-ng checks every pattern that it writes; each process has a quarter of
# the memory that it uses.
source "$(dirname "$0")/functions.sh"
requires stress-ng

seconds=$([ "$size" = full ] && echo 300 || echo 10)
cd "$work" || exit
stress() {  # SECONDS OPTIONS...
  run_as_user "$sampler" "$work/peak" -- "$uzswap" run --memory 32M \
    --backing "$work" -- stress-ng --vm 2 --vm-bytes 256M --vm-method all \
    --verify --temp-path "$work" -t "$@" >"$work/out" 2>&1 ||
    fail "$(tail -30 "$work/out")"
  cat "$work/out"
  ! grep -qiE 'fail(ed|ure)?:|error detected|bit error' "$work/out" ||
    fail "stress-ng found an error"
  grep -q 'successful run completed' "$work/out" || fail "not completed"
}
# The advice it gives by itself contains MADV_DONTFORK and MADV_HUGEPAGE.
stress $seconds
expect_peak "$work/peak" 32768
UZSWAP_CHAOS=2 stress $((seconds / 2))
