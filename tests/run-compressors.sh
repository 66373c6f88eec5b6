#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every compressor that `uzswap list` names, plug-ins included, works; plug-ins
# that are damaged are reported before anything is started.
source "$(dirname "$0")/functions.sh"

"$uzswap" list >"$work/list"
cat "$work/list"
program='
b = [bytes([i % 251] * 900) + i.to_bytes(4, "big") * 300 for i in range(20000)]
import hashlib; print(hashlib.sha256(b"".join(b[::3])).hexdigest())
'
want=$(/usr/bin/python3 -c "$program")
names=$(awk '/^compressors/ { on = 1; next } /^[a-z]/ { on = 0 } on { print $1 }' \
  "$work/list")
for name in lz4 zstd copy; do
  grep -qx "$name" <<<"$names" || fail "$name is not listed"
done
for name in $names; do
  expect_exit 0 run_as_user "$uzswap" run --memory 20M --compressor "$name" \
    --stats-json "$work/json" -- /usr/bin/python3 -c "$program" >"$work/out"
  [ "$(cat "$work/out")" = "$want" ] || fail "$name: wrong result"
  grep -qE "^  compressed +$name" "$work/stderr" ||
    fail "$name: $(cat "$work/stderr")"
  [ "$(json "$work/json" "['totals']['zswpout']")" -gt 0 ] ||
    fail "$name: nothing was compressed"
  rm -f "$work/json"
done

# The dense tier, without a backing store, where it must make the room.
program='
import hashlib, random
random.seed(1)
d = [str(random.random()) * 4 for i in range(400000)]
print(hashlib.sha256("".join(d[::3]).encode()).hexdigest())
'
want=$(/usr/bin/python3 -c "$program")
expect_exit 0 run_as_user "$uzswap" run --memory 20M --backing none \
  --recompressor zstd:1 --stats-json "$work/json" -- \
  /usr/bin/python3 -c "$program" >"$work/out"
[ "$(cat "$work/out")" = "$want" ] || fail "recompressed: wrong result"
grep -qE '^  dense tier +[0-9,]+ pages compressed again' "$work/stderr" ||
  fail "no dense tier: $(cat "$work/stderr")"
[ "$(json "$work/json" "['totals']['recompressed_pages']")" -gt 0 ] ||
  fail "nothing was recompressed"
expect_error 125 "--recompressor 'lzma9' is not known; choose one of: .*lz4" \
  "$uzswap" run -m 64M --recompressor lzma9 true
expect_error 125 'recompressor "zstd:99".*does not have that level' \
  "$uzswap" run -m 64M --recompressor zstd:99 true

# A tree of our own with plug-ins that are none.
mkdir -p "$work/tree/plugins"
cp "$uzswap" "$build/libuzswap-preload.so" "$work/tree"
echo junk >"$work/tree/plugins/uzswap-compressor-junk.so"
echo 'int nothing;' | cc -shared -fPIC -x c - \
  -o "$work/tree/plugins/uzswap-compressor-empty.so"
"$work/tree/uzswap" list | grep -q 'junk.*cannot be loaded' || fail "junk"
"$work/tree/uzswap" list | grep -q 'empty.*is no plug-in' || fail "empty"
expect_error 125 'compressor junk: .*cannot be loaded' \
  "$work/tree/uzswap" run -m 64M -c junk true
expect_error 125 'compressor empty: .*is no plug-in' \
  "$work/tree/uzswap" run -m 64M -c empty true
