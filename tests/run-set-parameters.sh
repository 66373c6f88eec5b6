#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# uzswap get and set on a program at work: values arrive in every process, also
# in those to come; what is refused changes nothing; the output is unchanged.
source "$(dirname "$0")/functions.sh"

get() { run_as_user "$uzswap" get "$@"; }
set_() { run_as_user "$uzswap" set "$@"; }
# expect_value NAME VALUE [WAIT]
expect_value() {
  local got
  got=$(get --wait "${3-1}" "$run" "$1")
  [ "$got" = "$2" ] || fail "$1 is '$got', expected '$2'"
}

/usr/bin/python3 - >"$work/input" <<'PY'
import random
random.seed(7)
for i in range(400000):
    print(random.getrandbits(64), "line", i)
PY
sort "$work/input" >"$work/expected"

HOME=$work "${as_user[@]}" "$uzswap" run -q -m 24M -- /usr/bin/python3 -c '
import os, sys
rounds = 0
while not os.path.exists(sys.argv[2]):
    lines = open(sys.argv[1]).readlines()
    lines.sort()
    rounds += 1
sys.stdout.writelines(lines)
' "$work/input" "$work/stop" >"$work/output" 2>"$work/run-errors" &
run=$!
cleanup_fn kill -9 $run 2>/dev/null

started() { [ "$(get --wait 0 $run enabled 2>/dev/null)" = Y ]; }
wait_until 20 started
expect_value compressor lz4
expect_value zpool zsmalloc
expect_value max_pool_percent 50
expect_value accept_threshold_percent 90
expect_value shrinker_enabled N

# By the id of `uzswap run`, and by that of the program.
set_ $run max_pool_percent=40 "accept_threshold_percent= 80 "
expect_value max_pool_percent 40
expect_value accept_threshold_percent 80
program=$(get --json $run |
  /usr/bin/python3 -c 'import json, sys
r = json.load(sys.stdin)
assert r["processes"][0]["stats"]["faults"] > 0
print(r["processes"][0]["pid"])')
[ "$(get "$program" max_pool_percent)" = 40 ] || fail "by the program's id"
set_ "$program" enabled=0 shrinker_enabled=on
expect_value enabled N
expect_value shrinker_enabled Y
set_ $run enabled=Y
expect_value enabled Y

# What is not possible is said, and nothing changes.
expect_error 125 'compressor=lz5 was refused by python3 .*it has .*lz4' \
  run_as_user "$uzswap" set $run compressor=lz5
expect_error 125 'max_pool_percent=101 .*0 to 100' \
  run_as_user "$uzswap" set $run max_pool_percent=101
expect_error 125 'enabled=perhaps .*Y or N' \
  run_as_user "$uzswap" set $run enabled=perhaps
expect_error 125 'zpool=zbox ' run_as_user "$uzswap" set $run zpool=zbox
expect_error 125 "no parameter 'colour'; there are memory, .*compressor, zpool" \
  run_as_user "$uzswap" set $run colour=red
expect_error 125 "no parameter 'colour'" run_as_user "$uzswap" get $run colour
expect_error 125 'NAME=VALUE' run_as_user "$uzswap" set $run enabled
expect_error 125 'not a process id' run_as_user "$uzswap" set me enabled=1
expect_error 125 'no process 4194399' run_as_user "$uzswap" get 4194399
expect_error 125 "not under a running 'uzswap run'" \
  run_as_user "$uzswap" get "$(run_as_user sh -c 'sleep 3 >&- & echo $!')"
expect_value max_pool_percent 40
expect_value compressor lz4
if [ ${#as_user[@]} -gt 0 ]; then
  expect_error 125 'process 1 belongs to root' \
    run_as_user "$uzswap" set 1 x=1
  expect_error 125 'process 1 belongs to root' \
    run_as_user "$uzswap" set 1 enabled=1
  expect_error 125 'belongs to nobody; only its owner' \
    setpriv --reuid=65533 --regid=65533 --clear-groups \
    "$uzswap" set $run enabled=N
  "$uzswap" set $run max_pool_percent=41 # root may
  expect_value max_pool_percent 41
fi

# Another compressor, again and again, while it works.
for compressor in zstd lz4 zstd:1 zstd:9 copy lz4; do
  set_ --wait 10 $run compressor=$compressor
  expect_value compressor $compressor
done

# A dense tier, of one kind and another, and none again.
expect_value recompressor none
for recompressor in zstd zstd:9 lz4 deflate none; do
  set_ --wait 10 $run recompressor=$recompressor
  expect_value recompressor $recompressor
done
expect_error 125 'recompressor=lz5 was refused by python3 .*it has .*lz4' \
  run_as_user "$uzswap" set $run recompressor=lz5
expect_value recompressor none

touch "$work/stop"
code=0
wait $run || code=$?
[ $code = 0 ] || fail "ended with $code: $(cat "$work/run-errors")"
cmp "$work/output" "$work/expected" || fail "the output differs"
[ ! -s "$work/run-errors" ] || fail "said: $(cat "$work/run-errors")"
expect_error 125 'no process|not under' run_as_user "$uzswap" get $run
