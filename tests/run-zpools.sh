#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every allocator that `uzswap list` names works on a real program, with pages
# that compress, pages that hardly do and pages that do not at all, with and
# without a backing store.
source "$(dirname "$0")/functions.sh"

"$uzswap" list >"$work/list"
names=$(awk '/^zpools/ { on = 1; next } /^[a-z]/ { on = 0 } on { print $1 }' \
  "$work/list")
"$uzswap" run --help >"$work/help"
for name in zsmalloc zbud z3fold; do
  grep -qx "$name" <<<"$names" || fail "$name is not listed"
  grep -q "$name" "$work/help" || fail "the help does not name $name"
done

# 36 MB: a third text, a third nearly random, a third random. Half is dropped
# and made again, so that the pool is freed into and compacted.
program='
import hashlib, random
r = random.Random(5)
def page(i):
    kind = i % 3
    if kind == 0: return (b"page %d of the text " % i * 300)[:4096]
    if kind == 1: return r.randbytes(3700) + bytes(396)
    return r.randbytes(4096)
a = [page(i) for i in range(9000)]
for turn in range(2):
    for i in range(turn, 9000, 2): a[i] = None
    for i in range(turn, 9000, 2): a[i] = page(i)
h = hashlib.sha256()
for x in a: h.update(x)
print(h.hexdigest())
print(sum(map(len, a)))
'
want=$(/usr/bin/python3 -c "$program")
for name in $names zsmalloc:4 zsmalloc:64; do
  for backing in none "$work"; do
    memory=24M
    [ "$backing" != none ] || memory=40M # most of it cannot be compressed
    expect_exit 0 run_as_user "$uzswap" run --memory "$memory" --zpool "$name" \
      --backing "$backing" --stats-json "$work/json" \
      -- /usr/bin/python3 -c "$program" >"$work/out"
    [ "$(cat "$work/out")" = "$want" ] || fail "$name: wrong result"
    [ "$(json "$work/json" "['totals']['zswpout']")" -gt 0 ] ||
      fail "$name: nothing was compressed"
    rm -f "$work/json"
  done
done
