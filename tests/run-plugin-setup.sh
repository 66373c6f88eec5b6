#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A plug-in that needs libc is loaded before libc's own constructors have run:
# the program finds its environment, its arguments and its name all the same. A
# compressor that cannot be set up is replaced by the default one, in one line;
# a name or a level that there is not stays an error.
source "$(dirname "$0")/functions.sh"
requires cc

mkdir -p "$work/tree/plugins" "$work/src"
cp "$uzswap" "$build/libuzswap-preload.so" "$work/tree"
cd "$work/src"
# The manual's example; its init does what $INIT says, and it has a destructor
# so that libc is really needed.
awk '/^\.SH/ { on = $2 == "EXAMPLES" } !on { next }
     /^\.EX/ { code = 1; next } /^\.EE/ { exit } code' \
  "$root/docs/man/uzswap-compressor.3" | sed 's/\\-/-/g' >tail.c
plugin() { # NAME RESULT
  sed -e "s/UZSWAP_COMPRESSOR(tail)/UZSWAP_COMPRESSOR($1)/; s/\"tail\"/\"$1\"/" \
    -e "s/? 0 : EINVAL/? $2 : EINVAL/" tail.c >"$1.c"
  cat >>"$1.c" <<'END'
#include <stdlib.h>
__attribute__((constructor)) static void needs_libc(int argc, char **argv) {
  if (argc < 1 || argv == NULL || argv[argc] != NULL || !getenv("UZSWAP_ROOT"))
    abort();
}
END
  sed -i '1i #define _GNU_SOURCE' "$1.c"
  cc -std=gnu11 -O2 -fPIC -shared -I "$root/include" \
    -o "$work/tree/plugins/uzswap-compressor-$1.so" "$1.c"
  readelf -d "$work/tree/plugins/uzswap-compressor-$1.so" |
    grep -q 'NEEDED.*libc' || fail "$1 does not need libc"
}
# `uzswap` itself loads them too, for its list.
export UZSWAP_ROOT=0
plugin fine 0
plugin nomemory ENOMEM
plugin broken EINVAL
uz() {
  run_as_user env -i UZSWAP_ROOT=0 COLOUR=red UZSWAP_ALL_PLUGINS="${all:-0}" \
    "$work/tree/uzswap" "$@"
}

program='
#define _GNU_SOURCE
#include <errno.h>
#include <error.h>
#include <stdio.h>
#include <stdlib.h>
extern char **environ;
int main(int argc, char **argv) {
  const char *colour = getenv("COLOUR");
  printf("%s %s %d %s %d\n", colour ? colour : "none", argv[1], argc,
         program_invocation_short_name, environ != NULL);
  error(0, 0, "said");
  return 0;
}'
echo "$program" >show.c
cc -o show show.c
for compressor in lz4 fine; do for all in 0 1; do
  uz run -q -m 24M --compressor $compressor -- "$work/src/show" word \
    >"$work/out" 2>"$work/stderr" || fail "$(cat "$work/stderr")"
  [ "$(cat "$work/out")" = "red word 2 show 1" ] || fail "$(cat "$work/out")"
  [ "$(cat "$work/stderr")" = "$work/src/show: said" ] ||
    fail "$(cat "$work/stderr")"
done; done

# What cannot be set up is replaced, and said once, not by every process.
for compressor in nomemory broken; do
  uz run -m 24M --compressor $compressor --stats-json "$work/json" -- sh -c \
    '/usr/bin/python3 -c "x = [str(i) * 9 for i in range(300000)]"; true' \
    2>"$work/stderr" || fail "$(cat "$work/stderr")"
  grep -qE "^uzswap: compressor \"$compressor\" could not be set up \(.*\); lz4 is used instead" \
    "$work/stderr" || fail "$(cat "$work/stderr")"
  [ "$(grep -c 'could not be set up' "$work/stderr")" = 1 ] ||
    fail "more than once: $(cat "$work/stderr")"
  grep -qE '^  compressed +lz4' "$work/stderr" || fail "$(cat "$work/stderr")"
  [ "$(json "$work/json" "['compressors_used']")" = "['lz4']" ] || fail "json"
  rm "$work/json"
done
expect_error 125 'tail.* is not known' uz run -m 24M --compressor tail -- true
