#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The summary: short, aligned, true to what was seen from outside, silent when
# asked to be.
source "$(dirname "$0")/functions.sh"

limit_kib=32768
program='
b = [bytes([i % 251] * 512 + list(range(256)) * 14) for i in range(40000)]
print(sum(x[5] for x in b))
'
"$sampler" "$work/peak" -- "$uzswap" run --memory 32M -- \
  /usr/bin/python3 -c "$program" >"$work/out" 2>"$work/stderr" ||
  fail "$(cat "$work/stderr")"
/usr/bin/python3 -c "$program" | cmp - "$work/out" || fail "wrong result"
cat "$work/stderr"
expect_peak "$work/peak" $limit_kib

lines=$(wc -l <"$work/stderr")
[ "$lines" -ge 6 ] && [ "$lines" -le 10 ] || fail "$lines lines"
[ "$(awk '{ if (length($0) > w) w = length($0) } END { print w }' \
  "$work/stderr")" -le 100 ] || fail "too wide"
head -1 "$work/stderr" | grep -qE '^uzswap: python3, [0-9.]+ m?s, exit status 0$' ||
  fail "first line"
for label in memory compressed 'pages out' 'pages in' faults disk; do
  grep -qE "^  $label +[^ ]" "$work/stderr" || fail "no line '$label'"
done
grep -qE 'of 32.0 MiB allowed; without uzswap 1[0-9][0-9] MiB, saved [78][0-9] %' \
  "$work/stderr" || fail "what it says about memory"
! grep -q warning "$work/stderr" || fail "a warning without a reason"

# Nothing in the program's own standard error is lost or mixed up.
"$uzswap" run -m 32M -- sh -c 'echo mine >&2' 2>"$work/stderr"
[ "$(head -1 "$work/stderr")" = mine ] || fail "order"
"$uzswap" run -q -m 32M -- sh -c 'echo mine >&2' 2>"$work/stderr"
[ "$(cat "$work/stderr")" = mine ] || fail "--quiet is not quiet"
UZSWAP_QUIET=1 "$uzswap" run -m 32M true 2>"$work/stderr"
[ ! -s "$work/stderr" ] || fail "UZSWAP_QUIET=1 is not quiet"

# Several processes: one is named, the rest is counted.
"$uzswap" run -m 32M -- sh -c '/usr/bin/python3 -c "x = bytearray(20 << 20)"; true' \
  2>"$work/stderr"
grep -qE '^  processes +2, largest python3 \([0-9]+\)$' "$work/stderr" ||
  fail "processes: $(cat "$work/stderr")"
