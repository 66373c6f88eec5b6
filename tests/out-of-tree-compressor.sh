#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The manual page is enough to write a plug-in: its example is built outside the
# tree with only the header that is installed, as C and as C++, and a program
# runs under uzswap with it. A plug-in of the time before there were optional
# members does, too.
source "$(dirname "$0")/functions.sh"
requires cc c++
page=$root/docs/man/uzswap-compressor.3
if command -v mandoc >/dev/null; then
  mandoc -Tlint "$page" || fail "mandoc has complaints"
fi

mkdir -p "$work/include/uzswap" "$work/tree/plugins" "$work/src"
cp "$root/include/uzswap/compressor.h" "$work/include/uzswap"
cp "$uzswap" "$build/libuzswap-preload.so" "$work/tree"
cd "$work/src"

# The example, as a reader would copy it.
awk '/^\.SH/ { on = $2 == "EXAMPLES" } !on { next }
     /^\.EX/ { code = 1; next } /^\.EE/ { exit } code' "$page" |
  sed 's/\\-/-/g' >tail.c
grep -q 'UZSWAP_COMPRESSOR(tail)' tail.c || fail "no example in $page"

# plugin NAME COMPILER...
plugin() {
  local name=$1
  shift
  "$@" -Wall -Wextra -Werror -O2 -fPIC -shared -I "$work/include" \
    -o "$work/tree/plugins/uzswap-compressor-$name.so"
}
plugin tail cc -std=c99 -pedantic tail.c

# Without the members that came later: what compilers made of older headers.
sed -e 's/UZSWAP_COMPRESSOR(tail)/UZSWAP_COMPRESSOR(old)/; s/"tail"/"old"/' \
  -e 's/= sizeof(struct uzswap_compressor)/= UZSWAP_COMPRESSOR_MIN_SIZE/' \
  -e '/min_level/d' tail.c >old.c
! grep -q 'min_level\|sizeof(struct' old.c || fail "the old example is new"
plugin old cc -std=c99 -pedantic old.c

# C++ may leave the optional members out without a warning.
sed -e 's/UZSWAP_COMPRESSOR(tail)/UZSWAP_COMPRESSOR(cxx)/; s/"tail"/"cxx"/' \
  -e 's/= source;/= static_cast<const char *>(source);/' \
  -e 's/= destination;/= static_cast<char *>(destination);/' \
  -e '/min_level/d' tail.c >cxx.cc
plugin cxx c++ -std=c++20 cxx.cc

# A program whose pages end in zeros.
program='
import hashlib, mmap
m = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(m), 4096):
    m[at:at + 900] = hashlib.shake_128(str(at).encode()).digest(900)
print(hashlib.sha256(m).hexdigest())
'
want=$(/usr/bin/python3 -c "$program")
for name in tail old cxx; do
  expect_exit 0 run_as_user "$work/tree/uzswap" run --memory 24M \
    --compressor "$name" --stats-json "$work/json" -- \
    /usr/bin/python3 -c "$program" >"$work/out"
  [ "$(cat "$work/out")" = "$want" ] || fail "$name: wrong result"
  grep -qE "^  compressed +$name" "$work/stderr" ||
    fail "$name: $(cat "$work/stderr")"
  [ "$(json "$work/json" "['totals']['zswpout']")" -gt 1000 ] ||
    fail "$name: nothing was compressed"
  rm -f "$work/json"
done
"$work/tree/uzswap" list | grep -q tail || fail "tail is not listed"
