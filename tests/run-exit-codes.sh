#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `uzswap run` ends exactly as the program ended.
source "$(dirname "$0")/functions.sh"

run() { "$uzswap" run --quiet --memory 64M -- "$@"; }

for code in 0 1 42 125 255; do
  expect_exit "$code" run sh -c "exit $code"
  [ ! -s "$work/stderr" ] || fail "--quiet, but: $(cat "$work/stderr")"
done
expect_exit 127 run no-such-program
expect_exit 127 run /no/such/program
expect_exit 126 run /etc/passwd
expect_exit 126 run /etc

# A signal is passed on as a signal, not as a number: the caller's waitpid says
# so (the shell shows 128 + n for both, Python does not).
for number in 9 15 6 11 10; do
  got=$(/usr/bin/python3 - "$uzswap" "$number" <<'EOF'
import subprocess, sys
p = subprocess.run([sys.argv[1], "run", "-q", "-m", "64M", "sh", "-c",
                    "kill -%s $$" % sys.argv[2]], stderr=subprocess.DEVNULL)
print(p.returncode)
EOF
)
  [ "$got" = "-$number" ] || fail "signal $number became $got"
done

# Standard streams, working directory, arguments and name are the program's own.
[ "$(echo in | run cat)" = in ] || fail "standard input"
[ "$(cd / && run pwd)" = / ] || fail "working directory"
[ "$(run printf '%s|' a 'b c' '' '*')" = 'a|b c||*|' ] || fail "arguments"
[ "$(run sh -c 'echo $0' )" = sh ] || fail "argv[0]"
printf 'echo "no #! line: $1"\n' >"$work/script"
chmod +x "$work/script"
[ "$(run "$work/script" yes)" = "no #! line: yes" ] || fail "script without #!"

# Ignored signals and the signal mask reach the program as the caller set them.
[ "$(trap '' USR1; run grep SigIgn /proc/self/status)" = \
  "$(trap '' USR1; grep SigIgn /proc/self/status)" ] || fail "ignored signals"
[ "$(run grep SigBlk /proc/self/status)" = \
  "$(grep SigBlk /proc/self/status)" ] || fail "signal mask"
