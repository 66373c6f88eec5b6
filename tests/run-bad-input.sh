#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every bad input is answered by one line that names it, before anything has
# been started.
source "$(dirname "$0")/functions.sh"

started=$work/started
touch_it=(touch "$started")
bad() {  # PATTERN OPTIONS...
  local pattern=$1
  shift
  expect_error 125 "$pattern" "$uzswap" run "$@" -- "${touch_it[@]}"
  [ ! -e "$started" ] || fail "the program was started: $*"
}

expect_error 125 'no command' "$uzswap"
expect_error 125 "'frobnicate' is not known" "$uzswap" frobnicate
expect_error 125 'takes no argument' "$uzswap" list all
expect_error 125 'needs a program' "$uzswap" run -m 64M
expect_error 125 'needs a program' "$uzswap" run -m 64M --
bad 'needs --memory'
bad "'lots' is not a size" --memory lots
bad "'-5M' is not a size" --memory -5M
bad 'memory: 1 required SIZE.auto missing' --memory ''
bad '15M is too little; the minimum is 16.0 MiB' --memory 15M
bad 'is not a size' --memory 99999999999999999999
bad "--compressor 'lzma9' is not known; choose one of: .*lz4" -m 64M -c lzma9
bad "--zpool 'zfold' is not known; choose one of: .*zbud" -m 64M --zpool zfold
for option in --max-pool-percent --accept-threshold-percent; do
  for value in 0 101 -1 ten 5.5; do
    bad "^uzswap: $option '$value' is out of range" -m 64M $option $value
  done
done
for value in soon 0 0.5s -60s; do
  bad "--idle '$value' is not a time" -m 64M --idle $value
done
for value in 0 101 0.001 -1 few; do
  bad "--promotion-rate '$value' is out of range" -m 64M \
    --promotion-rate $value
done
bad "--evict 'up' is not known" -m 64M --evict up
bad "--syscalls 'none' is not known" -m 64M --syscalls none
bad "--backing '/no/such' does not exist" -m 64M --backing /no/such
bad "--backing '/dev/null' is neither" -m 64M --backing /dev/null
bad "--backing '/proc' cannot be written to" -m 64M --backing /proc
bad 'backing: 1 required .* missing' -m 64M --backing ''
echo precious >"$work/file"
bad 'is a file with content' -m 64M --backing "$work/file"
[ "$(cat "$work/file")" = precious ] || fail "the file was changed"
bad "'x' is not a size" -m 64M --backing-size x
bad 'not for the .* of --backing-size' -m 64M --backing-size 900T
bad 'not expected: --foo' -m 64M --foo
bad '--stats-json .* cannot be written' -m 64M --stats-json /no/such/file
bad '--stats-json .* cannot be written' -m 64M --stats-json "$work"
expect_error 125 "'7Q' is not a size" env UZSWAP_MEMORY=7Q "$uzswap" run true
expect_error 125 'ulimit -v' \
  bash -c 'ulimit -v 4000000; exec "$@"' - "$uzswap" run -m 64M true
# The command line wins over the environment.
expect_exit 0 env UZSWAP_MEMORY=7Q "$uzswap" run -q -m 64M true

# Not writable.
mkdir -m 0555 "$work/read-only"
expect_error 125 "read-only' cannot be written to" \
  run_as_user "$uzswap" run -m 64M --backing "$work/read-only" true
touch "$work/mine"
chmod 0400 "$work/mine"
expect_error 125 "mine' cannot be opened|mine' is a file" \
  run_as_user "$uzswap" run -m 64M --backing "$work/mine" true

# Full.
mkdir "$work/full"
if mount -t tmpfs -o size=1m none "$work/full" 2>/dev/null; then
  cleanup_fn umount "$work/full"
  dd if=/dev/zero of="$work/full/fill" bs=64k count=16 status=none || true
  bad "full' is full: it has room for 0 B" -m 64M --backing "$work/full"
fi
expect_error 125 'is full: it has room for 1.00 MiB' \
  bash -c 'ulimit -f 1024; exec "$@"' - "$uzswap" run -m 64M true

# What uzswap needs of the kernel is missing or forbidden.
expect_error 125 'userfaultfd failed.*seccomp filter' \
  "$programs/deny_uffd" uffd -- "$uzswap" run -m 64M true
expect_error 125 'Syscall User Dispatch failed.*seccomp filter' \
  "$programs/deny_uffd" dispatch -- "$uzswap" run -m 64M true

# An incomplete installation.
mkdir -p "$work/alone/bin"
cp "$uzswap" "$work/alone/bin"
expect_error 125 'libuzswap-preload.so is neither in' \
  "$work/alone/bin/uzswap" run -m 64M true
