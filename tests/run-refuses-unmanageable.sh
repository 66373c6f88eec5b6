#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Programs that uzswap cannot be loaded into are refused before they start.
source "$(dirname "$0")/functions.sh"
requires cc

refuse() { expect_error 126 "$1" run_as_user "$uzswap" run -m 64M "$2"; }

cat >"$work/program.c" <<'EOF'
int main(void) { return 42; }
EOF
cc -o "$work/dynamic" "$work/program.c"
expect_exit 42 run_as_user "$uzswap" run -q -m 64M "$work/dynamic"

cc -static -o "$work/static" "$work/program.c"
refuse 'statically linked' "$work/static"
cc -static-pie -fPIE -o "$work/static-pie" "$work/program.c"
refuse 'statically linked' "$work/static-pie"
refuse 'it is the loader' /lib64/ld-linux-x86-64.so.2

for sanitizer in address thread leak; do
  if cc -fsanitize=$sanitizer -o "$work/sanitized" "$work/program.c" \
    2>/dev/null; then
    refuse 'built with a sanitizer' "$work/sanitized"
  fi
done
if command -v clang >/dev/null &&
  clang -fsanitize=address -o "$work/sanitized" "$work/program.c" 2>/dev/null
then
  refuse 'built with a sanitizer \(__asan_init\)' "$work/sanitized"
fi

# poke NAME OFFSET BYTE: a copy of the dynamic program with one byte changed.
poke() {
  cp "$work/dynamic" "$work/$1"
  printf "\\x$3" | dd of="$work/$1" bs=1 seek="$2" conv=notrunc status=none
}
poke elf32 4 01
refuse '32-bit' "$work/elf32"
poke arm 18 b7
refuse 'another machine' "$work/arm"
printf '\x7fELF\x02' >"$work/cut"
chmod +x "$work/cut"
refuse 'not a valid ELF' "$work/cut"
printf '#!%s\n' "$work/static" >"$work/script"
chmod +x "$work/script"
refuse "static'.*statically linked" "$work/script"
printf '#!/usr/bin/env no-such-thing\n' >"$work/script"
refuse 'not found in PATH' "$work/script"
printf '\x00\x01\x02' >"$work/script"
refuse 'neither an ELF program nor a script' "$work/script"
chmod -x "$work/script"
refuse 'not an executable file' "$work/script"

if [ "$(id -u)" = 0 ] && [ ${#as_user[@]} -gt 0 ]; then
  cp "$work/dynamic" "$work/setuid"
  chmod 4755 "$work/setuid"
  refuse 'it is setuid' "$work/setuid"
  cp "$work/dynamic" "$work/setgid"
  chmod 2755 "$work/setgid"
  refuse 'it is setgid' "$work/setgid"
  # The same file gives root nothing new, so it can be managed.
  expect_exit 42 "$uzswap" run -q -m 64M "$work/setuid"
  if command -v setcap >/dev/null; then
    cp "$work/dynamic" "$work/capable"
    setcap cap_net_raw+ep "$work/capable"
    refuse 'has file capabilities' "$work/capable"
  fi
fi
