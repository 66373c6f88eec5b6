#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a program has in memory is not on the disk for others to read: a known
# phrase, in thousands of pages that were written out, is not in the backing
# file, neither while the program runs nor afterwards, unless --no-encrypt was
# given. A forked child writes as well.
source "$(dirname "$0")/functions.sh"

secret="the password is ${RANDOM}-$$-swordfish"
# Pages that are half noise, so that the phrase stays a literal when compressed;
# it is put together where no argument shows it. To a file that is named only
# the parent writes.
program='
import os, sys
secret = "".join(reversed(sys.argv[1])).encode()
def fill(count):
    return [os.urandom(1800) + secret + bytes(2100) for _ in range(count)]
a = fill(16000)
assert all(x[1800:1800 + len(secret)] == secret for x in a)
child = os.fork()
if child == 0:
    b = fill(int(sys.argv[3]))
    os._exit(0 if all(secret in x for x in b[:100]) else 1)
assert os.waitpid(child, 0)[1] == 0
open(sys.argv[2], "w").close()
sys.stdin.readline()
assert all(x[1800:1800 + len(secret)] == secret for x in a)
print("right")
'

# found FILE: how often the phrase is in it.
found() { { grep -aoF "$secret" "$1" || true; } | wc -l; }

# run_with FILE PATTERN_FILE ARG...: the program with the phrase; $while_running
# and $afterwards are how often it is found in the backing file.
run_with() {
  local file=$1 fd
  shift
  : >"$file"
  chmod 666 "$file"
  rm -f "$work/ready"
  mkfifo "$work/go"
  run_as_user "$uzswap" run -m 24M --backing "$file" --stats-json "$work/json" \
    "$@" -- /usr/bin/python3 -c "$program" "$(rev <<<"$secret")" "$work/ready" 10 \
    <"$work/go" >"$work/out" 2>"$work/stderr" &
  local pid=$!
  exec {fd}>"$work/go"
  while [ ! -e "$work/ready" ] && kill -0 $pid 2>/dev/null; do sleep 0.1; done
  while_running=$(found "$file")
  echo >&$fd
  exec {fd}>&-
  wait $pid || fail "the program: $(cat "$work/stderr")"
  rm "$work/go"
  [ "$(cat "$work/out")" = right ] || fail "wrong content"
  afterwards=$(found "$file")
  cat "$work/stderr"
  [ "$(json "$work/json" "['totals']['written_back_pages']")" -gt 5000 ] ||
    fail "hardly anything was written"
  [ "$(stat -c %s "$file")" -gt 8000000 ] || fail "the file is small"
}

run_with "$work/plain" --no-encrypt
[ "$while_running" -gt 2000 ] && [ "$afterwards" -gt 2000 ] ||
  fail "the phrase should be there: $while_running, $afterwards"
[ "$(json "$work/json" "['settings']['encrypt']")" = False ] ||
  fail "settings"

run_with "$work/sealed"
[ "$while_running" = 0 ] && [ "$afterwards" = 0 ] ||
  fail "found $while_running times while running, $afterwards afterwards"
[ "$(json "$work/json" "['settings']['encrypt']")" = True ] ||
  fail "settings"

# The files without a name, parent's and child's, seen through /proc.
mkdir -m 1777 "$work/folder"
mkfifo "$work/go"
rm -f "$work/ready"
"$uzswap" run -q -m 24M --backing "$work/folder" -- \
  /usr/bin/python3 -c "$program" "$(rev <<<"$secret")" "$work/ready" 8000 \
  <"$work/go" >"$work/out" &
exec {go}>"$work/go"
while [ ! -e "$work/ready" ] && kill -0 $! 2>/dev/null; do sleep 0.1; done
seen=0
for one in /proc/[0-9]*/fd/*; do
  case $(readlink "$one" 2>/dev/null) in
    "$work/folder"/*deleted*)
      bytes=$(stat -Lc %s "$one")
      seen=$((seen + bytes))
      [ "$(found "$one")" = 0 ] || fail "the phrase is in $one"
      ;;
  esac
done
echo >&$go
exec {go}>&-
wait $! || fail "the program"
[ "$seen" -gt 8000000 ] || fail "only $seen bytes were seen"
