#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Signals sent to `uzswap run` reach the program; it stops and continues with
# the program.
source "$(dirname "$0")/functions.sh"

state_is() { [[ "$(ps -o state= -p "$1")" == "$2"* ]]; }

for name in TERM HUP INT QUIT USR1 USR2 ALRM WINCH RTMIN+1; do
  rm -f "$work/ready"
  # A background job of a shell ignores INT and QUIT; the program resets them.
  /usr/bin/python3 - "$name" "$work/ready" "$uzswap" <<'EOF' &
import signal, subprocess, sys, time, os
for s in ("SIGINT", "SIGQUIT"):
    signal.signal(getattr(signal, s), signal.SIG_DFL)
code = '''trap 'echo got; exit 9' %s; touch %s; while :; do sleep 0.05; done'''
p = subprocess.Popen([sys.argv[3], "run", "-q", "-m", "64M", "bash", "-c",
                      code % (sys.argv[1], sys.argv[2])],
                     stdout=subprocess.PIPE)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
number = (signal.SIGRTMIN + 1 if sys.argv[1] == "RTMIN+1"
          else getattr(signal, "SIG" + sys.argv[1]))
p.send_signal(number)
out, _ = p.communicate(timeout=20)
sys.exit(0 if (out, p.returncode) == (b"got\n", 9) else 1)
EOF
  wait $! || fail "SIG$name was not passed on"
done

"$uzswap" run -q -m 64M sh -c 'echo $$ >'"$work/pid"'; exec sleep 60' &
supervisor=$!
cleanup_fn kill -9 $supervisor 2\>/dev/null
wait_until 10 test -s "$work/pid"
program=$(cat "$work/pid")
kill -STOP "$program"
wait_until 10 state_is $supervisor T
state_is "$program" T || fail "the program is not stopped"
kill -CONT $supervisor
wait_until 10 state_is "$program" S
wait_until 10 state_is $supervisor S
kill -TERM $supervisor
code=0
wait $supervisor || code=$?
[ $code = 143 ] || fail "ended with $code, expected 143"

# An alarm set before exec (perl -e 'alarm ...; exec ...') still works.
code=0
timeout 20 perl -e 'alarm 1; exec @ARGV' "$uzswap" run -q -m 64M sleep 60 ||
  code=$?
[ $code = 142 ] || fail "alarm: ended with $code, expected 142"
