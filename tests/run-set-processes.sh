#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Parameters of a run with several processes: one that sleeps takes them when it
# wakes and is named until then; forked and exec'd ones begin with the values of
# the moment; one that is killed is forgotten.
source "$(dirname "$0")/functions.sh"

sleeper= worker=
mkfifo "$work/wake" "$work/more"
cat >"$work/program.py" <<'PY'
import os, sys, time
wake, more, log = sys.argv[1:4]
open(log, "w").close()
pid = os.fork()
if pid == 0:  # sleeps in a read until somebody writes
    open(wake).read()
    time.sleep(1)
    os._exit(0)
grandchild = os.fork()
if grandchild == 0:  # computes and computes
    data = bytearray(8 << 20)
    while True:
        for i in range(0, len(data), 4096):
            data[i] ^= 1
        os.getppid()
open(log + ".pids", "w").write("%d %d\n" % (pid, grandchild))
open(more).read()
os.spawnv(os.P_WAIT, "/usr/bin/python3", ["python3", "-c", """
import os, sys, time
while not os.path.exists(sys.argv[1]): time.sleep(0.02)
""", log + ".done"])
os.kill(grandchild, 9)
os.waitpid(grandchild, 0)
os.waitpid(pid, 0)
PY
chmod 666 "$work/wake" "$work/more"
HOME=$work "${as_user[@]}" "$uzswap" run -q -m 24M -- \
  /usr/bin/python3 "$work/program.py" "$work/wake" "$work/more" "$work/log" \
  2>"$work/run-errors" &
run=$!
cleanup_fn kill -9 $run '$sleeper $worker' 2>/dev/null
wait_until 20 test -s "$work/log.pids"
read -r sleeper worker <"$work/log.pids"

# of PID NAME: the value in that process.
of() {
  run_as_user "$uzswap" get --json "$run" | /usr/bin/python3 -c '
import json, sys
for p in json.load(sys.stdin)["processes"]:
    if str(p["pid"]) == sys.argv[1]: print(p["parameters"][sys.argv[2]])
' "$1" "$2"
}
processes() {
  run_as_user "$uzswap" get --wait 0 --json "$run" | /usr/bin/python3 -c '
import json, sys
print(len(json.load(sys.stdin)["processes"]))'
}
count_is() { [ "$(processes)" = "$1" ]; }
wait_until 10 count_is 3

# The first two sleep (in open and read of a pipe), the third computes.
start=$EPOCHREALTIME
expect_exit 0 run_as_user "$uzswap" set --wait 0.5 $run max_pool_percent=30
grep -qE '^uzswap: 2 of 3 processes have not taken it yet: python3 ' \
  "$work/stderr" || fail "sleepers: $(cat "$work/stderr")"
grep -q "($sleeper)" "$work/stderr" || fail "$(cat "$work/stderr")"
/usr/bin/python3 -c "import sys
sys.exit(not 0.5 <= $EPOCHREALTIME - $start < 5)" || fail "did not wait 0.5 s"
[ "$(of "$sleeper" max_pool_percent)" = 50 ] || fail "asleep, but took it"

# It wakes up.
echo >"$work/wake"
woke() { [ "$(of "$sleeper" max_pool_percent)" = 30 ]; }
wait_until 5 woke

# A program that starts now begins with the present values.
echo >"$work/more"
new_one() {
  run_as_user "$uzswap" get --json "$run" | /usr/bin/python3 -c '
import json, sys
last = json.load(sys.stdin)["processes"][-1]
sys.exit(not (last["pid"] > int(sys.argv[1]) and
              last["parameters"]["max_pool_percent"] == "30"))' "$sleeper"
}
wait_until 10 new_one
[ "$(run_as_user "$uzswap" get $run max_pool_percent)" = 30 ] ||
  fail "not the same everywhere"
expect_exit 0 run_as_user "$uzswap" set --wait 0 $run \
  accept_threshold_percent=70

touch "$work/log.done"
code=0
wait $run || code=$?
[ $code = 0 ] || fail "ended with $code: $(cat "$work/run-errors")"
[ ! -s "$work/run-errors" ] || fail "said: $(cat "$work/run-errors")"
