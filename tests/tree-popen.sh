#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A program that forks again and again at its limit, for children that become
# other programs: each leaves while its family is measured, sooner or later.
source "$(dirname "$0")/functions.sh"
requires /usr/bin/python3

cat >"$work/popen.py" <<'END'
import subprocess
memory = bytearray(40 << 20)
for i in range(0, len(memory), 64):
    memory[i] = (i * 2654435761 >> 7) & 255
total = 0
for k in range(40):
    for i in range(k * 409600 % (20 << 20), len(memory), 4096 * 3):
        total += memory[i]
        memory[i] = (memory[i] + 1) & 255
    # With a function to call it really forks.
    out = subprocess.run(["/usr/bin/printf", "abc"], stdout=subprocess.PIPE,
                         preexec_fn=lambda: None).stdout
    assert out == b"abc"
print(total)
END
want=$(/usr/bin/python3 "$work/popen.py")
limit=$((20 * 1024))
run_as_user "$sampler" --tree "$work/peak" -- "$uzswap" run --memory ${limit}K \
  --backing "$work" -- /usr/bin/python3 "$work/popen.py" >"$work/out" \
  2>"$work/stderr" || fail "$(cat "$work/stderr")"
cat "$work/stderr"
echo "one process had $(peak "$work/peak"), all $(share "$work/peak") KiB of $limit"
[ "$(cat "$work/out")" = "$want" ] || fail "other results: $(cat "$work/out")"
expect_peak "$work/peak" $limit
# A child writes to what it inherits, its tables above all, before it may ask.
expect_share "$work/peak" $limit 110
