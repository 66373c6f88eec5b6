#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The size classes of a running program, in the kernel's layout, and the chain
# of zsmalloc that decides what classes there are.
source "$(dirname "$0")/functions.sh"

get() { run_as_user "$uzswap" get --wait 10 "$@"; }
set_() { run_as_user "$uzswap" set --wait 10 "$@"; }

for bad in zsmalloc:3 zsmalloc:65 zsmalloc:x zsmalloc:; do
  expect_error 125 'from 4 to 64' run_as_user "$uzswap" run -m 24M \
    --zpool "$bad" -- /bin/true
done
expect_error 125 'only zsmalloc takes a chain' run_as_user "$uzswap" run \
  -m 24M --zpool zbud:8 -- /bin/true

# Works until told to stop; with an argument, there is a child that does, too.
cat >"$work/program.py" <<'PY'
import os, sys, time
if len(sys.argv) > 2:
    os.fork()
pages = [(b"page %d of a text " % i * 300)[:4096] for i in range(9000)]
while not os.path.exists(sys.argv[1]):
    for i in range(0, 9000, 7):
        pages[i] = (b"page %d again a text " % i * 300)[:4096]
    time.sleep(0.01)
PY
start() {
  HOME=$work "${as_user[@]}" "$uzswap" run -q -m 24M --zpool zsmalloc:16 \
    -- /usr/bin/python3 "$work/program.py" "$work/stop" "$@" \
    2>"$work/run-errors" &
  run=$!
}
compressed() {
  [ "$(get $run enabled 2>/dev/null)" = Y ] &&
    get --json $run | /usr/bin/python3 -c 'import json, sys
sys.exit(0 if all(p["stats"]["stored_pages"] > 1000
                  for p in json.load(sys.stdin)["processes"]) else 1)'
}

start
cleanup_fn kill -9 $run 2>/dev/null
wait_until 30 compressed
[ "$(get $run zpool)" = zsmalloc:16 ] || fail "zpool is $(get $run zpool)"

# expect_classes COUNT: so many, sums that agree, and a pool that is not empty.
expect_classes() {
  get --classes $run >"$work/classes"
  get --classes --json $run >"$work/json"
  /usr/bin/python3 - "$1" "$work/classes" "$work/json" <<'PY' ||
import json, sys
lines = open(sys.argv[2]).read().splitlines()
assert lines[0].split() == (
    "class size 10% 20% 30% 40% 50% 60% 70% 80% 90% 99% 100% obj_allocated "
    "obj_used pages_used pages_per_zspage freeable").split(), lines[0]
rows = [[int(word) for word in line.split()] for line in lines[1:-2]]
assert len(rows) == int(sys.argv[1]), len(rows)
assert lines[-2] == "" and lines[-1].split()[0] == "Total", lines[-1]
total = [int(word) for word in lines[-1].split()[1:]]
columns = list(zip(*rows))
assert total == [sum(c) for c in columns[2:16]] + [sum(columns[17])], total
assert total[11] >= total[12] > 1000, total  # obj_allocated, obj_used
assert total[13] > 0
for row in rows:
    number, size, pages = row[0], row[1], row[16]
    assert size == 32 + 16 * number
    zspages = sum(row[2:13])
    assert row[13] == zspages * (pages * 4096 // size), row
    assert row[15] <= zspages * pages, row
classes = json.load(open(sys.argv[3]))
assert len(classes["classes"]) == len(rows)
assert classes["program"].startswith("python3"), classes["program"]
PY
    fail "$(cat "$work/classes")"
}
expect_classes 192
set_ $run zpool=zsmalloc:4
[ "$(get $run zpool)" = zsmalloc:4 ] || fail "zpool is $(get $run zpool)"
migrated() { expect_classes 69 2>/dev/null; }
wait_until 30 eval '(migrated) >/dev/null 2>&1'
set_ $run zpool=zsmalloc
wait_until 30 eval '(expect_classes 119) >/dev/null 2>&1'
expect_error 125 'zpool=zsmalloc:3 .*4 to 64 pages' \
  run_as_user "$uzswap" set $run zpool=zsmalloc:3
expect_error 125 'zpool=z3fold:8 .*only zsmalloc' \
  run_as_user "$uzswap" set $run zpool=z3fold:8
[ "$(get $run zpool)" = zsmalloc ] || fail "zpool is $(get $run zpool)"
set_ $run zpool=zbud
expect_error 125 'zpool zbud has no size classes' get --classes $run
expect_error 125 "leave out 'zpool'" get --classes $run zpool
touch "$work/stop"
wait $run || fail "the program failed: $(cat "$work/run-errors")"
rm "$work/stop"

# Of several processes one must be named.
start twice
cleanup_fn kill -9 $run 2>/dev/null
wait_until 30 compressed
several() {
  ! get --classes $run >"$work/said" 2>&1 &&
    grep -q 'several processes' "$work/said"
}
wait_until 10 several
for pid in $(get --json $run | /usr/bin/python3 -c 'import json, sys
print(*[p["pid"] for p in json.load(sys.stdin)["processes"]])'); do
  get --classes "$pid" | grep -q '^ Total' || fail "no classes of $pid"
done
touch "$work/stop"
wait $run || fail "the program failed: $(cat "$work/run-errors")"

# Nobody is waited for who sleeps.
HOME=$work "${as_user[@]}" "$uzswap" run -q -m 24M -- /bin/sleep 60 &
run=$!
cleanup_fn kill -9 $run 2>/dev/null
asleep() {
  ! run_as_user "$uzswap" get --wait 0.1 --classes $run >"$work/said" 2>&1 &&
    grep -q 'sleep ([0-9]*) sleeps; it answers when' "$work/said"
}
wait_until 10 asleep
kill $run
wait $run || true
