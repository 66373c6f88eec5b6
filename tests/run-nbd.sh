#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Pages of a real program on an NBD export: the server goes away and comes back
# in the middle, is slow, fails; several processes share one export.
source "$(dirname "$0")/functions.sh"
requires nbdkit /usr/bin/python3
socket=$work/nbd
uri="nbd+unix:///?socket=$socket"

# serve ARGUMENTS...: starts nbdkit; its process id is in $server.
serve() {
  rm -f "$socket"
  "${as_user[@]}" nbdkit -f -U "$socket" "$@" 2>>"$work/nbdkit.log" &
  server=$!
  cleanup_fn kill -9 $server 2\>/dev/null
  wait_until 10 test -S "$socket"
}
unserve() {
  kill -9 "$server"
  wait "$server" 2>/dev/null || true
}
managed() {
  run_as_user "$uzswap" run -m 20M --max-pool-percent 5 --backing "$uri" "$@"
}

# Every page of 18 MiB has its own content, which is looked at in two rounds, by
# the process itself and by a child; waits for a line of input in between.
program='
import hashlib, os, sys
n = 4500
def page(i): return hashlib.shake_128(b"%d" % i).digest(1200) + b"\0" * 2896
pages = [page(i) for i in range(n)]
print("ready", flush=True)
sys.stdin.readline()
bad = sum(pages[i] != page(i) for i in range(n))
pid = os.fork()
if pid == 0:
    for i in range(0, n, 3): pages[i] = page(i + 7)
    os._exit(any(pages[i] != page(i + 7 if i % 3 == 0 else i) for i in range(n)))
for i in range(0, n, 4): pages[i] = page(i + 5)
bad += os.waitpid(pid, 0)[1]
bad += sum(pages[i] != page(i + 5 if i % 4 == 0 else i) for i in range(n))
print("bad", bad)
'
expect_good() {
  [ "$(cat "$work/out")" = "ready
bad 0" ] || fail "$1: $(cat "$work/out" "$work/stderr")"
}

# ---- what is said before anything is started
expect_error 125 "cannot be connected to" managed true
serve -r memory 64M
expect_error 125 "is read-only" managed true
unserve
expect_error 125 "TLS" run_as_user "$uzswap" run -m 20M --backing nbds://h/ true
expect_error 125 "is not an NBD address" \
  run_as_user "$uzswap" run -m 20M --backing nbd+unix://x true
expect_error 125 "cannot be found: host 'no.such.host.invalid'" \
  run_as_user "$uzswap" run -m 20M --backing nbd://no.such.host.invalid/ true
expect_error 125 "backing-timeout 'soon' is not" managed --backing-timeout soon true

# ---- killed and restarted in the middle
truncate -s 256M "$work/disk"
chmod 666 "$work/disk"
mkfifo "$work/go"
serve file "$work/disk"
managed --backing-timeout 60 --stats-json "$work/json" -- \
  /usr/bin/python3 -c "$program" <"$work/go" >"$work/out" 2>"$work/stderr" &
run=$!
exec {go}>"$work/go"
wait_until 60 grep -q ready "$work/out"
expect_error 125 "in use by another" managed true
unserve
echo >&$go
sleep 1
kill -0 $run || fail "it did not wait: $(cat "$work/stderr")"
serve file "$work/disk"
wait $run || fail "the program: $(cat "$work/stderr")"
exec {go}>&-
expect_good "server restarted"
cat "$work/stderr"
grep -q 'NBD server of the backing store is lost' "$work/stderr" || fail "lost?"
grep -q 'NBD server of the backing store is back' "$work/stderr" || fail "back?"
grep -q "read back, in nbd+unix:" "$work/stderr" || fail "summary"
[ "$(json "$work/json" "['totals']['device_read_fail']")" = 0 ] || fail "reads"
[ "$(json "$work/json" "['totals']['device_written_bytes']")" -gt 2000000 ] ||
  fail "hardly anything was written"

# ---- programs that are started one by one share the export by leases
managed -- bash -c '
  for i in 1 2 3; do
    echo | /usr/bin/python3 -c "$0" >"$1/out$i" &
  done
  wait' "$program" "$work" 2>"$work/stderr" || fail "$(cat "$work/stderr")"
for i in 1 2 3; do
  cp "$work/out$i" "$work/out"
  expect_good "program $i of three"
done
unserve

# ---- slow, and with errors
serve --filter=delay memory 256M rdelay=1ms wdelay=5ms
echo | managed -- /usr/bin/python3 -c "$program" >"$work/out" 2>"$work/stderr" ||
  fail "slow: $(cat "$work/stderr")"
expect_good "slow server"
unserve
serve --filter=error memory 256M error-pwrite=EIO error-pwrite-rate=30%
echo | managed -- /usr/bin/python3 -c "$program" >"$work/out" 2>"$work/stderr" ||
  fail "failing writes: $(cat "$work/stderr")"
expect_good "failing writes"
grep -q 'the backing store failed: [1-9]' "$work/stderr" || fail "not counted"
unserve
