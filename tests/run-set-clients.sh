#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The channel of a real run under attack from its own user: garbage, clients
# that are killed, that say nothing and that do not read. The program goes on at
# its pace, the supervisor does not grow, and everything is answered afterwards.
source "$(dirname "$0")/functions.sh"

HOME=$work "${as_user[@]}" "$uzswap" run -q -m 24M -- /usr/bin/python3 -c '
import os, sys
data = bytearray(40 << 20)
rounds = 0
while not os.path.exists(sys.argv[1]):
    for i in range(0, len(data), 4096):
        data[i] = rounds & 255
    rounds += 1
    open(sys.argv[2], "w").write(str(rounds))
assert set(data[::4096]) == {(rounds - 1) & 255}
' "$work/stop" "$work/rounds" 2>"$work/run-errors" &
run=$!
cleanup_fn kill -9 $run 2>/dev/null
wait_until 20 test -s "$work/rounds"
rss() { awk '/^VmRSS/ { print $2 }' /proc/$run/status; }
before=$(rss)

cat >"$work/attack.py" <<'PY'
import os, random, signal, socket, sys
name = "\0uzswap-" + sys.argv[1]
random.seed(1)
sockets = []
for i in range(1000):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(name)
    kind = i % 5
    try:
        if kind == 0: s.sendall(random.randbytes(random.randrange(1, 3000)))
        if kind == 1: s.sendall(b"set 60000 max_pool_")
        if kind == 2: s.sendall(b"get 0\n")
        if kind == 3: s.sendall(b"set 60000 nosuch=1\n" * 50)
    except OSError: pass
    sockets.append(s)
    if len(sockets) > 900: sockets.pop(0).close()
print("ready", flush=True)
signal.pause()
PY
ulimit -n 4096
"${as_user[@]}" /usr/bin/python3 "$work/attack.py" $run >"$work/attack" &
attack=$!
cleanup_fn kill -9 $attack 2>/dev/null
wait_until 30 grep -q ready "$work/attack"
rounds=$(cat "$work/rounds")
for i in 11 12 13; do
  run_as_user "$uzswap" set --wait 5 $run max_pool_percent=$i
  [ "$(run_as_user "$uzswap" get $run max_pool_percent)" = $i ] || fail "get $i"
done
kill -9 $attack
wait $attack 2>/dev/null || true
for i in 1 2 3 4 5 6 7 8 9 10; do
  run_as_user timeout -s KILL "0.0$i" "$uzswap" set --wait 30 $run \
    accept_threshold_percent=$((i + 50)) >/dev/null 2>&1 || true
done
run_as_user "$uzswap" set --wait 5 $run accept_threshold_percent=77
[ "$(run_as_user "$uzswap" get $run accept_threshold_percent)" = 77 ] ||
  fail "after the attack"
grew() { [ "$(cat "$work/rounds")" != "$rounds" ]; }
wait_until 30 grew
after=$(rss)
[ $((after - before)) -lt 8192 ] || fail "from $before to $after KiB"
[ "$(ls /proc/$run/fd | wc -l)" -lt 16 ] || fail "descriptors left open"
touch "$work/stop"
code=0
wait $run || code=$?
[ $code = 0 ] || fail "ended with $code: $(cat "$work/run-errors")"

# kill -9 leaves no name behind.
HOME=$work "${as_user[@]}" "$uzswap" run -q -m 24M -- sleep 60 &
run=$!
named() { grep -q "@uzswap-$1\$" /proc/net/unix; }
unnamed() { ! named "$1"; }
wait_until 10 named $run
kill -9 $run
wait_until 10 unnamed $run
