#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of `uzswap run` or of the program, at any moment: no process, no file
# and no shared memory is left, and the program's end is reported.
source "$(dirname "$0")/functions.sh"

mkdir "$work/backing"
chmod 1777 "$work/backing"
shm_before=$(ls /dev/shm)
# Something to look for among all processes.
mark=uzswap-kill9-$$
export UZSWAP_TEST_MARK=$mark
# Memory that does not compress, so that the backing file is in use as well.
program='
import os, sys
blocks = [bytearray(os.urandom(1 << 20)) for i in range(48)]
open(sys.argv[1], "w").write(str(os.getpid()))
while True:
    for b in blocks:
        b[0] ^= 1
'

ours() {  # processes that carry the mark
  local one
  for one in /proc/[0-9]*; do
    if tr '\0' '\n' <"$one/environ" 2>/dev/null |
      grep -qx "UZSWAP_TEST_MARK=$mark" &&
      [ "${one#/proc/}" != $$ ] && [ -r "$one/exe" ] &&
      [[ "$(readlink "$one/exe")" == *@(python*|/uzswap) ]]; then
      echo "${one#/proc/}"
    fi
  done
}
gone() { [ -z "$(ours)" ]; }
nothing_left() {
  wait_until 10 gone
  [ -z "$(ls -A "$work/backing")" ] ||
    fail "left in the backing directory: $(ls -A "$work/backing")"
  [ "$(ls /dev/shm)" = "$shm_before" ] || fail "left in /dev/shm"
}
start() {
  rm -f "$work/pid"
  "$uzswap" run -m 16M --backing "$work/backing" --stats-json "$work/json" \
    /usr/bin/python3 -c "$program" "$work/pid" 2>"$work/stderr" &
  supervisor=$!
}
pause() { sleep "$(printf '0.%03d' $((RANDOM % ${1})))"; }

rounds=6
[ "$size" = full ] && rounds=60
for ((i = 0; i < rounds; ++i)); do
  start
  if ((i % 2)); then wait_until 30 test -s "$work/pid"; fi
  pause 600
  kill -9 $supervisor
  wait $supervisor 2>/dev/null && fail "kill -9 did not kill"
  nothing_left
done
for ((i = 0; i < rounds; ++i)); do
  start
  wait_until 30 test -s "$work/pid"
  pause 300
  kill -9 "$(cat "$work/pid")"
  code=0
  wait $supervisor 2>/dev/null || code=$?
  [ $code = 137 ] || fail "the program was killed, uzswap ended with $code"
  grep -q 'killed by signal 9' "$work/stderr" ||
    fail "no summary: $(cat "$work/stderr")"
  [ "$(json "$work/json" "['signal']")" = 9 ] || fail "no JSON"
  nothing_left
done
[ "$(ls "$work" | tr '\n' ' ')" = "backing json pid stderr " ] ||
  fail "left: $(ls "$work")"
