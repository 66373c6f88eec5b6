#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A real program whose backing store fails. What cannot be written stays in
# memory; what cannot be read, or is not what was written, ends that access with
# SIGBUS and a line that names slot and cause; wrong data never.
source "$(dirname "$0")/functions.sh"
requires nbdkit /usr/bin/python3
uri="nbd+unix:///?socket=$work/nbd"

serve() {
  rm -f "$work/nbd"
  "${as_user[@]}" nbdkit -f -U "$work/nbd" "$@" 2>>"$work/nbdkit.log" &
  server=$!
  cleanup_fn kill -9 $server 2\>/dev/null
  wait_until 10 test -S "$work/nbd"
}
unserve() {
  kill -9 "$server"
  wait "$server" 2>/dev/null || true
}

# Fills 40 MiB, waits for a line, looks at all of it: "bad" would be other bytes.
program='
import hashlib, sys
n = 8000
def page(i): return hashlib.shake_128(b"%d" % i).digest(1200) + b"\0" * 2896
pages = [page(i) for i in range(n)]
print("filled", flush=True)
sys.stdin.readline()
for i in range(n):
    if pages[i] != page(i): print("bad", i, flush=True)
print("looked at all", flush=True)
'
mkfifo "$work/go"
# begin BACKING: starts the program and returns when it has filled its pages.
begin() {
  : >"$work/out"
  "${as_user[@]}" "$uzswap" run -m 20M --max-pool-percent 5 \
    --backing "$1" --stats-json "$work/json" \
    -- /usr/bin/python3 -c "$program" <"$work/go" >"$work/out" 2>"$work/stderr" &
  run=$!
  exec {go}>"$work/go"
  wait_until 60 grep -q filled "$work/out"
}
finish() {
  code=0
  echo >&$go
  wait $run || code=$?
  exec {go}>&-
  cat "$work/stderr"
  ! grep bad "$work/out" || fail "wrong data"
}
stat() { json "$work/json" "['totals']['$1']"; }

chmod 777 "$work"
# ---- it takes nothing: everything stays in memory, and that is said
for error in ENOSPC EIO; do
  serve --filter=error memory 256M error-pwrite=$error error-pwrite-rate=100%
  begin "$uri"
  finish
  [ $code = 0 ] && grep -q 'looked at all' "$work/out" || fail "$error: $code"
  [ "$(stat device_write_fail)" -gt 0 ] || fail "$error is not counted"
  grep -qE 'warning +the backing store failed: [1-9]' "$work/stderr" ||
    fail "$error is not said"
  unserve
done

# ---- it cannot be read
serve --filter=error memory 256M error-pread=EIO error-pread-rate=100% \
  error-pread-file="$work/bad-reads"
begin "$uri"
touch "$work/bad-reads"
finish
[ $code = 135 ] || fail "not SIGBUS: $code"
grep -qE 'cannot be had from the backing store: slot 0x[0-9a-f]+, [0-9]+ bytes: error 5' \
  "$work/stderr" || fail "slot and cause"
[ "$(stat device_read_fail)" -gt 0 ] || fail "reads are not counted"
unserve

# ---- it is not what was written
: >"$work/store"
chmod 666 "$work/store"
begin "$work/store"
bytes=$(command stat -c %s "$work/store")
[ "$bytes" -gt 4000000 ] || fail "only $bytes bytes in the store"
/usr/bin/python3 - "$work/store" "$bytes" <<'EOF'
import sys
with open(sys.argv[1], "r+b") as store: store.write(b"u" * int(sys.argv[2]))
EOF
finish
[ $code = 135 ] || fail "not SIGBUS: $code"
grep -qE 'slot 0x[0-9a-f]+, [0-9]+ bytes: they are not what was written' \
  "$work/stderr" || fail "slot and cause"

# ---- the server is gone for longer than it is waited for
serve memory 256M
export UZSWAP_BACKING_TIMEOUT=1
begin "$uri"
unserve
finish
[ $code = 135 ] || fail "not SIGBUS: $code"
grep -q 'NBD server of the backing store is lost (error [0-9]*); waiting for it up to 1 s' \
  "$work/stderr" || fail "loss is not said"
