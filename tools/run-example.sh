#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: run-example.sh BUILD_DIR [--memory SIZE] [--input-mb N]
# Sorts a text made of this system's own files (headers, scripts, manuals), once
# as it is and once under uzswap with less memory than it needs, and compares.
set -euo pipefail
build=$1
shift
memory=192M
input_mb=200
while [ $# -gt 0 ]; do
  case $1 in
    --memory) memory=$2 ;;
    --input-mb) input_mb=$2 ;;
    *) echo "usage: ./dev run [--memory SIZE] [--input-mb N]" >&2 && exit 2 ;;
  esac
  shift 2
done
export LC_ALL=C
say() { printf '%s\n' "== $*"; }

# On a disk, and to be used by everybody.
work=$(mktemp -d /var/tmp/uzswap-run-XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 1777 "$work"

# Text files of the system, the manuals unpacked, over and over if there are
# few of them; always the same on the same system.
system_text() {
  local folder
  for folder in /usr/include /usr/share /usr/lib; do
    find "$folder" -xdev -type f -readable \
      \( -name '*.h' -o -name '*.hpp' -o -name '*.py' -o -name '*.txt' \
      -o -name '*.pl' -o -name '*.pm' -o -name '*.html' -o -name '*.xml' \
      -o -name '*.cmake' -o -name '*.sh' \) -print0 2>/dev/null |
      sort -z | xargs -0 -r cat 2>/dev/null
  done
  find /usr/share/man /usr/share/doc -xdev -type f -name '*.gz' -print0 \
    2>/dev/null | sort -z | xargs -0 -r zcat -q 2>/dev/null
}
make_input() {
  local bytes=$((input_mb << 20))
  : >"$work/input"
  while [ "$(stat -c %s "$work/input")" -lt "$bytes" ]; do
    local before
    before=$(stat -c %s "$work/input")
    { system_text || true; } | head -c $((bytes - before)) >>"$work/input"
    [ "$(stat -c %s "$work/input")" -gt "$before" ] ||
      { echo "dev: no text files in /usr" >&2 && exit 1; }
  done
}

# uzswap needs no privilege: root runs it as nobody. A build tree that nobody
# cannot reach is copied.
uzswap=$build/uzswap
as_user=()
if [ "$(id -u)" = 0 ]; then
  as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups
    --inh-caps=-all --bounding-set=-all)
  if ! "${as_user[@]}" test -x "$uzswap" 2>/dev/null; then
    mkdir "$work/uzswap"
    cp -r "$build"/{uzswap,libuzswap-preload.so,plugins} "$work/uzswap/"
    chmod -R a+rX "$work/uzswap"
    uzswap=$work/uzswap/uzswap
  fi
fi

# One thread and one buffer: all of it in memory, nothing in temporary files.
job=(sort --parallel=1 -S 4G -T "$work" "$work/input")

say "making a text of $input_mb MiB from the files in /usr"
make_input
say "plain: ${job[*]}"
start=$SECONDS
plain=$("${as_user[@]}" "${job[@]}" | sha256sum)
say "plain: $((SECONDS - start)) s"
say "uzswap run --memory $memory -- ${job[*]}"
start=$SECONDS
limited=$("${as_user[@]}" "$uzswap" run --memory "$memory" -- "${job[@]}" |
  sha256sum)
say "uzswap: $((SECONDS - start)) s"
if [ "$plain" != "$limited" ]; then
  say "the two results DIFFER: ${plain%% *} and ${limited%% *}"
  exit 1
fi
say "the two results are equal: sha256 ${plain%% *}"
