#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make -j2 under one limit for all its processes together, well below what they
# take natively: what is built is the same to the byte, and the sum is kept. The
# full form builds busybox (565 files), whose source comes from apt.
source "$(dirname "$0")/functions.sh"
requires make gcc

# Objects of a build, relative, with their sums.
results() { (cd "$1" && find . -name '*.[oa]' -o -name 'busybox*' -type f \
  -perm -u+x | sort | xargs sha256sum); }

# build NAME SOURCE PERCENT COMMAND...: natively and with that share of what it
# took then, in the same directory, for the sake of paths in the objects.
build() {
  local name=$1 source=$2 percent=$3 native limit begin
  shift 3
  cp -r "$source" "$work/$name"
  chmod -R a+rwX "$work/$name"
  begin=$SECONDS
  run_as_user "$sampler" --tree "$work/native.peak" -- \
    "$@" -C "$work/$name" >"$work/log" 2>&1 ||
    fail "$name does not build natively: $(tail -5 "$work/log")"
  native=$(share "$work/native.peak")
  echo "$name natively: $((SECONDS - begin)) s, $native KiB"
  results "$work/$name" >"$work/native"
  rm -rf "${work:?}/$name"
  cp -r "$source" "$work/$name"
  chmod -R a+rwX "$work/$name"
  limit=$((native * percent / 100 > 16384 ? native * percent / 100 : 16384))
  begin=$SECONDS
  run_as_user "$sampler" --tree "$work/peak" -- "$uzswap" run --backing "$work" \
    --memory ${limit}K -- "$@" -C "$work/$name" >"$work/log" 2>&1 ||
    fail "$name under a limit of $limit KiB: $(tail -20 "$work/log")"
  echo "$name under $limit KiB: $((SECONDS - begin)) s," \
    "$(share "$work/peak") KiB"
  sed -n '/^uzswap: /,$p' "$work/log"
  results "$work/$name" >"$work/got"
  [ -s "$work/native" ] || fail "$name: nothing was built"
  cmp "$work/native" "$work/got" || fail "$name: other results"
  expect_share "$work/peak" "$limit" 110
  rm -rf "${work:?}/$name"
}

small_project() {
  mkdir "$work/generated"
  local i
  for i in 1 2 3 4; do
    awk -v i="$i" 'BEGIN {
      print "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>"
      for (n = 0; n < 700; ++n)
        printf "int f%d_%d(int x, char *s) { int y = x * %d; " \
          "if (s && y > %d) y += (int)strlen(s); return y + %d; }\n",
          i, n, n, n, i
    }' >"$work/generated/file$i.c"
  done
  cat >"$work/generated/Makefile" <<'MAKE'
all: all.a
all.a: file1.o file2.o file3.o file4.o
	ar rcD $@ $^
%.o: %.c
	gcc -O0 -g -c -o $@ $<
MAKE
}

# Nothing of the system's own lists is touched.
fetch_busybox() {
  local apt=$work/apt
  mkdir -p "$apt"/{lists/partial,cache/archives/partial}
  chmod -R a+rwX "$apt"
  printf '%s\n' 'Types: deb-src' 'URIs: http://deb.debian.org/debian' \
    'Suites: bookworm' 'Components: main' \
    'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' \
    >"$apt/source.sources"
  local options=(-q -o "Dir::Etc::sourcelist=$apt/source.sources"
    -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt/cache")
  (cd "$apt" && run_as_user apt-get "${options[@]}" update &&
    run_as_user apt-get "${options[@]}" source --download-only busybox &&
    tar xjf busybox_*.orig.tar.bz2 && mv busybox-*/ "$work/source") \
    >"$work/log" 2>&1
}

small_project
build small "$work/generated" 60 make -s -j2
[ "$size" = full ] || exit 0

requires apt-get bzip2
fetch_busybox || { echo "skipped: no source of busybox" && exit 77; }
export KCONFIG_NOTIMESTAMP=1 SOURCE_DATE_EPOCH=1
make -C "$work/source" defconfig >"$work/log" 2>&1 || fail "$(cat "$work/log")"
# tc does not build with the headers of newer kernels.
sed -i 's/^CONFIG_TC=y/# CONFIG_TC is not set/' "$work/source/.config"
build busybox "$work/source" 60 make -j2
