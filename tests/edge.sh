#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Small programs, each hard for a pager in user space in its own way: natively,
# under uzswap with little memory (patched and dispatched system calls, both
# ways of evicting), and with everything evicted every 2 ms. The output must be
# the same each time. Arguments: only these programs, e.g. edge.sh fork vm.
source "$(dirname "$0")/functions.sh"

names=("$@")
if [ $# = 0 ]; then
  for file in "$programs"/edge_*; do names+=("${file##*/edge_}"); done
  # A share for each CPU.
  shares=$(nproc) pids=() bad=
  for ((share = 0; share < shares; ++share)); do
    mine=()
    for ((i = share; i < ${#names[@]}; i += shares)); do
      mine+=("${names[i]}")
    done
    [ ${#mine[@]} = 0 ] && continue
    bash "$0" "${mine[@]}" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || bad=yes; done
  [ -z "$bad" ] || fail "see above"
  exit 0
fi

declare -A variants=(
  [limit]=""
  [move]="--evict move"
  [wp]="--evict wp"
  [dispatch]="--syscalls dispatch"
)
failed=()
run_variant() {  # NAME VARIANT ENVIRONMENT OPTIONS...
  local name=$1 variant=$2 setting=$3 code=0
  shift 3
  timeout 60 env "$setting" "${as_user[@]}" "$uzswap" run --quiet \
    --memory 96M --process-memory 16M --backing "$work" "$@" -- \
    "$programs/edge_$name" \
    >"$work/out" 2>"$work/stderr" || code=$?
  # Between two measurements of a family one of it may be above its own limit,
  # and says so.
  [[ $name != *fork* ]] || sed -i '/has to be exceeded/d' "$work/stderr"
  if [ $code = 0 ] && [ ! -s "$work/stderr" ] &&
    cmp -s "$work/native" "$work/out"; then
    return
  fi
  failed+=("$name/$variant")
  echo "--- $name, $variant: exit code $code"
  head -5 "$work/stderr"
  diff "$work/native" "$work/out" | head -10 || true
}

for name in "${names[@]}"; do
  timeout 60 "${as_user[@]}" "$programs/edge_$name" >"$work/native" ||
    fail "$name fails natively"
  ! grep 'not true' "$work/native" || fail "$name fails natively"
  for variant in limit move wp dispatch; do
    # shellcheck disable=SC2086
    run_variant "$name" $variant UZSWAP_TEST=1 ${variants[$variant]}
  done
  run_variant "$name" chaos UZSWAP_CHAOS=2
  run_variant "$name" chaos-move UZSWAP_CHAOS=1 --evict move
done
[ ${#failed[@]} = 0 ] || fail "${failed[*]}"
echo "${#names[@]} programs, 6 variants each: same output"
