#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Switches while programs do what a thread in their process could spoil: exec,
# fork, vfork, spawn, exit of threads, setuid, being killed, what only a process
# of one thread may do, and where no thread can be made at all. Every page keeps
# its content, and pools that were drained go.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/switching.sh"
program=$programs/under_switch
seconds=$([ "$size" = full ] && echo 20 || echo 1.2)

# attack KIND [CHAOS]
attack() {
  local kind=$1 code=0
  begin_switching 0.02 compressor=zstd compressor=lz4 compressor=zstd:1 \
    compressor=copy compressor=lzo-rle "compressor=lz4 max_pool_percent=60" \
    "compressor=deflate:1 max_pool_percent=50"
  UZSWAP_CHAOS=${2-} run_as_user timeout 300 "${switched[@]}" -q -m 16M \
    --backing "$work" -- "$program" "$kind" "$seconds" \
    >"$work/out" 2>"$work/stderr" || code=$?
  end_switching 1
  [ $code = 0 ] || fail "$kind: $code: $(cat "$work/stderr" "$work/out")"
  [ "$(cat "$work/out")" = "$kind ok" ] || fail "$kind: $(cat "$work/out")"
  [ ! -s "$work/stderr" ] || fail "$kind: $(cat "$work/stderr")"
}

kinds=("$@")
[ $# -gt 0 ] || kinds=(exec fork vfork spawn kill setuid threads alone seccomp
  nproc)
for kind in "${kinds[@]}"; do
  attack "$kind"
  # Then there is another thread of ours anyway.
  [ "$size" != full ] || [ "$kind" = alone ] || attack "$kind" 2
done

[ $# = 0 ] || exit 0
# Where no thread can be made the pools that were left go all the same.
for kind in seccomp nproc; do
  run_as_user "${switched[@]}" -q -m 16M --backing "$work" -- "$program" \
    "$kind" 4 >"$work/out" 2>"$work/stderr" &
  job=$!
  sleep 1
  pid=$(cat "$work/run.pid")
  for compressor in zstd lz4 zstd:1; do
    run_as_user "$uzswap" set --wait 10 "$pid" compressor=$compressor
  done
  pools() {
    run_as_user "$uzswap" get --json --wait 2 "$pid" | /usr/bin/python3 -c '
import json, sys
print(json.load(sys.stdin)["processes"][0]["stats"]["pools"])'
  }
  one_pool() { [ "$(pools)" = 1 ]; }
  wait_until 3 one_pool
  wait $job || fail "$kind: $(cat "$work/stderr")"
done
