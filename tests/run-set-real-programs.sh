#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every compressor in turn, and other parameters, while redis, sort and python
# work in a quarter of their memory: what they compute stays the same. Full form:
# larger, and everything evicted every 2 ms as well.
source "$(dirname "$0")/jobs.sh"
source "$(dirname "$0")/switching.sh"
requires redis-server redis-cli sort /usr/bin/python3

# under_switches NAME MIB SWITCHES [CHAOS]
under_switches() {
  local name=$1 mib=$2 least=$3 native limit begin
  "job_$name" "$mib" run_as_user "$sampler" "$work/native.peak" -- \
    >"$work/native.out"
  native=$(peak "$work/native.peak")
  limit=$((native / 4 > 16384 ? native / 4 : 16384))
  begin=$SECONDS
  begin_switching 0.2 "${all_settings[@]}"
  UZSWAP_CHAOS=${4-} "job_$name" "$mib" run_as_user "$sampler" "$work/peak" -- \
    "${switched[@]}" --memory ${limit}K --backing "$work" -- \
    >"$work/out" 2>"$work/stderr" || fail "$name: $(cat "$work/stderr")"
  end_switching "$least"
  echo "$name: native peak $native KiB, limit $limit KiB, peak" \
    "$(peak "$work/peak") KiB, $((SECONDS - begin)) s"
  cat "$work/stderr"
  cmp "$work/native.out" "$work/out" ||
    fail "$name: other results: $(diff "$work/native.out" "$work/out" | head)"
  ! grep -q 'could not be decompressed' "$work/stderr" || fail "$name: bad data"
  [ -n "${4-}" ] || expect_peak "$work/peak" "$limit"
}

under_switches sort "$(choose 40 600)" 3
under_switches python "$(choose 36 600)" 3
under_switches redis "$(choose 66 600)" 3
if [ "$size" = full ]; then
  under_switches sort 60 2 2
  under_switches python 20 3 2
  under_switches redis 40 3 2
fi
