# SPDX-License-Identifier: Apache-2.0
# What every process test starts with:
#     source "$(dirname "$0")/functions.sh"
# The build tree is $UZSWAP_BUILD (default build/release). UZSWAP_TEST_SIZE=full
# selects the long forms. Exit code 77 means skipped.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${UZSWAP_BUILD:-$root/build/release}
uzswap=$build/uzswap
programs=$build/programs
sampler=$programs/rss_sampler
size=${UZSWAP_TEST_SIZE:-quick}
export LC_ALL=C
unset UZSWAP_MEMORY UZSWAP_CHAOS UZSWAP_ROOT UZSWAP_REPORT LD_PRELOAD

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# requires COMMAND...: skips the test when a tool is missing.
requires() {
  local tool
  for tool in "$@"; do
    if ! command -v "$tool" >/dev/null; then
      echo "skipped: $tool is not installed"
      exit 77
    fi
  done
}

# cleanup_fn COMMAND...: runs it when the test ends, last given first.
cleanups=()
cleanup_fn() { cleanups=("$*" "${cleanups[@]}"); }
run_cleanups() {
  local code=$? one
  set +e
  for one in "${cleanups[@]}"; do eval "$one"; done
  exit "$code"
}
trap run_cleanups EXIT
trap 'exit 143' TERM INT

# A directory of the test's own, on a real file system, writable for everybody.
work=$(mktemp -d /var/tmp/uzswap-test-XXXXXX)
chmod 1777 "$work"
cleanup_fn rm -rf "$work"
export TMPDIR=$work

# as_user COMMAND...: as an ordinary user, if we are root. uzswap needs no
# privilege, so nothing should have any.
as_user=()
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups
    --inh-caps=-all --bounding-set=-all)
  if ! "${as_user[@]}" test -x "$uzswap" 2>/dev/null; then
    # He cannot reach the build tree: give him a copy of what the tests run.
    copy=$(mktemp -d /var/tmp/uzswap-build-XXXXXX)
    cleanup_fn rm -rf "$copy"
    cp -r "$build"/{uzswap,libuzswap-preload.so,plugins,programs} "$copy"
    chmod -R a+rX "$copy"
    build=$copy
    uzswap=$build/uzswap
    programs=$build/programs
    sampler=$programs/rss_sampler
  fi
fi
run_as_user() { HOME=$work "${as_user[@]}" "$@"; }

# expect_exit CODE COMMAND...: standard error goes to $work/stderr.
expect_exit() {
  local want=$1 got=0
  shift
  "$@" 2>"$work/stderr" || got=$?
  [ "$got" = "$want" ] ||
    fail "exit code $got, expected $want: $* ($(cat "$work/stderr"))"
}

# expect_error CODE PATTERN COMMAND...: exactly one line on standard error,
# "uzswap: ...", that matches.
expect_error() {
  local want=$1 pattern=$2
  shift 2
  expect_exit "$want" "$@"
  [ "$(wc -l <"$work/stderr")" = 1 ] ||
    fail "not exactly one line: $* ($(cat "$work/stderr"))"
  grep -q '^uzswap: ' "$work/stderr" || fail "no 'uzswap: ' in front: $*"
  grep -qE -- "$pattern" "$work/stderr" ||
    fail "'$pattern' not in: $(cat "$work/stderr")"
}

# peak FILE: the highest memory of one process, in KiB, as the sampler saw it.
peak() { awk '$1 == "process" { print $2 }' "$1"; }

# expect_peak FILE LIMIT_KIB: at most 105 % of the limit was ever in memory.
expect_peak() {
  local seen
  seen=$(peak "$1")
  [ $((seen * 100)) -le $(($2 * 105)) ] ||
    fail "peak $seen KiB with a limit of $2 KiB"
}

# share FILE: the highest sum of a tree (rss_sampler --tree), a page that several
# processes have counted once, in KiB.
share() { awk '$1 == "pss" { print $2 }' "$1"; }

# expect_share FILE LIMIT_KIB [PERCENT]: the tree never had more than 105 % of the
# limit. The processes are looked at one after the other, which is no one moment.
# More where processes fork and go on: not all that a family writes is charged
# before it is measured, which takes its time on a busy machine.
expect_share() {
  local seen
  seen=$(share "$1")
  [ $((seen * 100)) -le $(($2 * ${3-105})) ] ||
    fail "the tree had $seen KiB with a limit of $2 KiB"
}

# wait_until SECONDS COMMAND...: until it succeeds.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "waited in vain: $*"
    sleep 0.02
  done
}

# json FILE EXPRESSION: a value of --stats-json, e.g. "['seconds']".
json() {
  /usr/bin/python3 -c "import json; print(json.load(open('$1'))$2)"
}
