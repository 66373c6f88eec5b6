#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --memory auto: a program that needs twice what its cgroup allows is not
# killed there, its limit is what the cgroup leaves it, and a change of that is
# followed. Where no cgroup has a limit, that is said.
source "$(dirname "$0")/functions.sh"
requires /usr/bin/python3
[ "$(id -u)" = 0 ] || { echo "skipped: only root can make cgroups" && exit 77; }

if [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
  box=/sys/fs/cgroup/memory/uzswap-test-$$ limit=memory.limit_in_bytes
  events=memory.oom_control
else
  box=/sys/fs/cgroup/uzswap-test-$$ limit=memory.max events=memory.events
fi
mkdir "$box" 2>/dev/null ||
  { echo "skipped: no cgroup can be made" && exit 77; }
remove_box() {
  while read -r pid; do kill -9 "$pid"; done <"$box/cgroup.procs"
  wait_until 10 rmdir "$box"
}
cleanup_fn remove_box
[ -e "$box/$limit" ] || { echo "skipped: no memory controller" && exit 77; }

# shellcheck disable=SC2016  # for that shell
in_box=(bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$box")
kills() { awk '$1 == "oom_kill" { print $2 }' "$box/$events"; }

# Elsewhere there may be a limit above; here there is none, or it works.
"${in_box[@]}" "$uzswap" run --memory auto -- true 2>"$work/stderr" ||
  grep -qx 'uzswap: --memory auto: no cgroup .*; give --memory SIZE' \
    "$work/stderr" || fail "without a limit: $(cat "$work/stderr")"

echo 40M >"$box/$limit"
expect_error 125 'allows 40.0 MiB, but 32.0 MiB .*; give --memory SIZE' \
  "${in_box[@]}" "$uzswap" run --memory auto -- true

cat >"$work/eater.py" <<'PY'
import hashlib, os, sys
# Half of each page does not compress.
pages = [os.urandom(2048) + bytes([i % 251]) * 2048 for i in range(160 * 256)]
before = hashlib.sha256(b"".join(pages[::31])).hexdigest()
open(sys.argv[1], "w").close()
while not os.path.exists(sys.argv[2]):
    assert hashlib.sha256(b"".join(pages[::31])).hexdigest() == before
assert hashlib.sha256(b"".join(pages[::31])).hexdigest() == before
print("as it was")
PY
echo 96M >"$box/$limit"
begun=$(kills)
"${in_box[@]}" "${as_user[@]}" "$uzswap" run --memory auto --backing "$work" \
  --stats-json "$work/stats" -- /usr/bin/python3 "$work/eater.py" \
  "$work/filled" "$work/stop" >"$work/out" 2>"$work/stderr" &
pid=$!
wait_until 60 test -e "$work/filled"
allowed() {  # MIB
  "$uzswap" get --json "$pid" >"$work/get" 2>"$work/ignored" &&
    [ "$(json "$work/get" "['processes'][0]['stats']['memory_limit']")" = \
      $(($1 << 20)) ]
}
wait_until 10 allowed 64
if [ -n "$("$uzswap" get "$pid" memory 2>/dev/null)" ]; then
  echo 160M >"$box/$limit"
  wait_until 10 allowed 128
  echo 112M >"$box/$limit"
  wait_until 10 allowed 80
fi
touch "$work/stop"
wait "$pid" || fail "exit code $?: $(cat "$work/stderr")"
grep -qx 'as it was' "$work/out" || fail "no result"
[ "$(kills)" = "$begun" ] || fail "the OOM killer came"
cat "$work/stderr"
