#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The limits that all processes of a run share: they hold for the sum, can be
# changed both ways while it runs, also when everybody sleeps, and --on-full
# says what happens when there is neither memory nor disk.
source "$(dirname "$0")/functions.sh"

hog=$programs/tree_hog
get() { run_as_user "$uzswap" get --wait 0 "$@"; }
# used PID: MiB in use by all processes of the run.
used() {
  get --json "$1" | /usr/bin/python3 -c \
    'import json, sys; print(json.load(sys.stdin)["memory_used"] >> 20)'
}
at_most() { [ "$(used "$1")" -le "$2" ]; }
filled() { [ "$(grep -c filled "$1")" -ge "$2" ]; }

# ---- three programs that each want more than all of it
limit=64
seconds=3
[ "$size" != full ] || seconds=30
HOME=$work "${as_user[@]}" "$sampler" "$work/peak" -- "$uzswap" run \
  --memory ${limit}M --backing "$work" -- /bin/bash -c \
  "for i in 1 2 3; do '$hog' 64 $seconds text & done; wait" \
  >"$work/out" 2>"$work/err" || fail "ended with $? ($(cat "$work/err"))"
cat "$work/peak" "$work/out" "$work/err"
[ "$(grep -c '^right' "$work/out")" = 3 ] || fail "a page was wrong"
tree=$(awk '$1 == "tree" { print $2 }' "$work/peak")
[ $((tree * 100)) -le $((limit * 1024 * 105)) ] ||
  fail "$tree KiB in memory with a limit of $limit MiB"
# Nobody starves: the slowest gets something like its share.
sort -k2 -n <(grep '^right' "$work/out") | awk '
  NR == 1 { least = $2 } { most = $2 }
  END { exit !(least * 8 >= most && least > 0) }' || fail "somebody starved"

# ---- lowered and raised while they sleep
HOME=$work "${as_user[@]}" "$uzswap" run --memory 96M --backing "$work" -- /bin/bash -c \
  "'$hog' 48 4 sleep & '$hog' 48 4 sleep & wait" \
  >"$work/out" 2>"$work/err" &
pid=$!
wait_until 20 filled "$work/out" 2
run_as_user "$uzswap" set "$pid" memory=40M || fail "memory=40M was refused"
[ "$(get "$pid" memory)" = 40M ] || fail "memory is $(get "$pid" memory)"
wait_until 10 at_most "$pid" 42
run_as_user "$uzswap" set "$pid" memory=200M soft_memory=32M
wait_until 15 at_most "$pid" 36
expect_error 125 'minimum is 16.0 MiB' run_as_user "$uzswap" set "$pid" memory=1M
expect_error 125 'choose one of' run_as_user "$uzswap" set "$pid" on_full=panic
run_as_user "$uzswap" set "$pid" soft_memory=none
wait $pid || fail "ended with $? ($(cat "$work/err"))"
[ "$(grep -c '^right' "$work/out")" = 2 ] || fail "a page was wrong"

# ---- a limit for each process
HOME=$work "${as_user[@]}" "$uzswap" run --memory 96M --process-memory 24M --backing "$work" --stats-json \
  "$work/json" -- "$hog" 48 0.5 text >"$work/out" 2>"$work/err"
grep -q '^right' "$work/out" || fail "a page was wrong"
peak=$(json "$work/json" "['totals']['peak_bytes']")
[ "$peak" -le $((25 << 20)) ] || fail "--process-memory 24M, but $peak bytes"

# ---- neither memory nor disk
code=0
HOME=$work "${as_user[@]}" "$uzswap" run --memory 24M --backing none \
  --on-full kill -- "$hog" 48 0.5 random \
  >"$work/out" 2>"$work/err" || code=$?
[ "$code" = 137 ] || fail "--on-full kill: ended with $code"
grep -q 'killed, as --on-full' "$work/err" || fail "$(cat "$work/err")"

rm -f "$work/err"
HOME=$work "${as_user[@]}" "$uzswap" run --memory 24M --backing none \
  --on-full wait -- "$hog" 48 0.5 random \
  >"$work/out" 2>"$work/err" &
pid=$!
wait_until 10 grep -qs 'waits, as --on-full' "$work/err"
sleep 0.5
kill -0 $pid || fail "--on-full wait: ended"
[ ! -s "$work/out" ] || fail "it did not wait: $(cat "$work/out")"
run_as_user "$uzswap" set "$pid" memory=96M
wait $pid || fail "--on-full wait: ended with $?"
grep -q '^right' "$work/out" || fail "a page was wrong"

rm -f "$work/err"
HOME=$work "${as_user[@]}" "$uzswap" run --memory 24M --backing none \
  --on-full wait -- "$hog" 48 0.5 random \
  >"$work/out" 2>"$work/err" &
pid=$!
wait_until 10 grep -qs 'waits, as --on-full' "$work/err"
kill $pid
code=0
wait $pid || code=$?
[ "$code" = 143 ] || fail "a waiting program cannot be ended: $code"

# Whoever cannot share the limit says so.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  timeout 60 "$uzswap" run --quiet --memory 32M -- setpriv --reuid=65534 \
    --regid=65534 --clear-groups /bin/echo other >"$work/out" 2>"$work/err" ||
    fail "$(cat "$work/err")"
  [ "$(cat "$work/out")" = other ] || fail "$(cat "$work/out")"
  grep -q '^uzswap: echo .*a limit of its own' "$work/err" ||
    fail "it does not say that it has a limit of its own: $(cat "$work/err")"
fi
