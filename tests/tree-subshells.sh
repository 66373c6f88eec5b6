#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A shell whose children are born with all that it has, and grow to twice that, at
# the same time: what they share counts once, and becomes free when the last one
# drops it.
source "$(dirname "$0")/functions.sh"

cat >"$work/script" <<'END'
x=$(head -c 30000000 /dev/zero | tr '\0' a)
for i in 1 2 3 4; do ( y=$x$i$x; echo ${#y} ) & done
wait
END
for run in 1 2; do
  run_as_user "$sampler" --tree "$work/peak" -- "$uzswap" run --memory 48M \
    --backing "$work" -- bash "$work/script" >"$work/out" 2>"$work/stderr" ||
    fail "run $run: $(cat "$work/stderr")"
  cat "$work/stderr"
  echo "run $run: $(share "$work/peak") KiB of $((48 * 1024))"
  [ "$(sort -u "$work/out")" = 60000001 ] && [ "$(wc -l <"$work/out")" = 4 ] ||
    fail "other results: $(cat "$work/out")"
  expect_share "$work/peak" $((48 * 1024))
done
