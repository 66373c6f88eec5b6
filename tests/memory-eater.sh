#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A program that eats far more memory than it may have (programs/memory_eater.cc)
# loses no page, is never stuck for a second and never without progress, with
# every zpool, while percentages and the shrinker are changed from outside. In a
# debug build lockdep ends it at the fifth lock that a thread takes.
#   memory-eater.sh [--seconds N] [--zpool Z] [--compressor C] [--jobs J]
#                   [--limit MIB] [--threads N] [--seed N] [--stall-ms N]
# Without a zpool or a compressor: all that `uzswap list` names, each pair for
# N seconds. Without any argument: a few pairs for a few seconds each; with
# UZSWAP_TEST_SIZE=full ten minutes for every pair.
source "$(dirname "$0")/functions.sh"

seconds='' zpool='' compressor='' jobs=2 limit=64 threads=8 seed=$RANDOM
stall_ms=1000 quick=
[ $# -gt 0 ] || [ "$size" = full ] || quick=yes
while [ $# -gt 0 ]; do
  case $1 in
    --seconds | --zpool | --compressor | --jobs | --limit | --threads | --seed \
      | --stall-ms)
      [ $# -ge 2 ] || fail "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" %s "$2"
      shift 2
      ;;
    *) fail "unknown argument '$1'" ;;
  esac
done

# What `uzswap list` names under a title and can be used.
names() {
  "$uzswap" list | awk -v title="$1" '
    /^[a-z]/ { on = $1 == title; next } on && !/: / { print $1 }'
}
pairs() {
  local z c
  if [ -n "$quick" ]; then
    printf '%s\n' 'zsmalloc lz4' 'zbud zstd' 'z3fold lzo-rle' \
      'zsmalloc deflate'
    return
  fi
  for c in ${compressor:-$(names compressors)}; do
    for z in ${zpool:-$(names zpools)}; do echo "$z $c"; done
  done
}
[ -z "$quick" ] || : "${seconds:=6}"
: "${seconds:=600}"

settings=(
  max_pool_percent=20 "max_pool_percent=70 shrinker_enabled=Y"
  accept_threshold_percent=50 "max_pool_percent=5 shrinker_enabled=N"
  accept_threshold_percent=95 "shrinker_enabled=Y max_pool_percent=50"
  "max_pool_percent=1 accept_threshold_percent=100" max_pool_percent=90
  "shrinker_enabled=N accept_threshold_percent=90" "memory=$((limit * 3 / 4))M"
  "memory=$((limit * 2))M" "memory=${limit}M"
)

# change PID FOLDER: until there is nothing to change any more.
change() {
  local i=0
  trap - EXIT
  while sleep 0.$((RANDOM % 7 + 2)); do
    # shellcheck disable=SC2086  # several words
    if run_as_user "$uzswap" set --wait 5 "$1" \
      ${settings[i % ${#settings[@]}]} >>"$2/set" 2>&1; then
      echo >>"$2/changes"
    fi
    i=$((i + 1))
  done
}

# eat ZPOOL COMPRESSOR FOLDER
eat() {
  local folder=$3 run changing code=0
  trap - EXIT
  HOME=$work "${as_user[@]}" "$uzswap" run --memory "${limit}M" --zpool "$1" \
    --compressor "$2" --backing "$folder" --stats-json "$folder/json" -- \
    "$programs/memory_eater" --limit "$limit" --seconds "$seconds" \
    --threads "$threads" --seed "$seed" --stall-ms "$stall_ms" \
    >"$folder/out" 2>"$folder/err" &
  run=$!
  trap 'kill $run $changing 2>/dev/null; exit 143' TERM
  change $run "$folder" &
  changing=$!
  wait $run || code=$?
  kill $changing 2>/dev/null
  echo "$code" >"$folder/code"
}

report() {  # ZPOOL COMPRESSOR FOLDER
  local code changes locks
  code=$(cat "$3/code")
  changes=$(wc -l 2>/dev/null <"$3/changes" || echo 0)
  locks=$(json "$3/json" "['processes'][0]['most_locks_held']" || echo none)
  echo "$1 $2: exit=$code changes=$changes most_locks=$locks $(cat "$3/out")"
  if [ "$code" != 0 ]; then
    cat "$3/err"
    bad+="$1/$2 "
  elif [ "$locks" -gt 4 ]; then
    bad+="$1/$2 (a thread held $locks locks) "
  elif [ "$changes" = 0 ]; then
    cat "$3/set"
    bad+="$1/$2 (nothing was changed) "
  elif grep refused "$3/set"; then
    bad+="$1/$2 (refused) "
  fi
}

echo "seed $seed, $seconds s each, $jobs at a time, $limit MiB"
bad='' started=() n=0
finish_one() {  # the oldest
  # shellcheck disable=SC2086  # several words
  set -- ${started[0]}
  started=("${started[@]:1}")
  wait "$4" || true
  report "$1" "$2" "$3"
  rm -rf "$3"
}
while read -r z c; do
  [ ${#started[@]} -lt "$jobs" ] || finish_one
  n=$((n + 1))
  mkdir -m 1777 "$work/$n"
  eat "$z" "$c" "$work/$n" </dev/null &
  started+=("$z $c $work/$n $!")
  cleanup_fn kill $! 2\>/dev/null
done < <(pairs)
while [ ${#started[@]} -gt 0 ]; do finish_one; done
[ "$n" -gt 0 ] || fail "there are no such pairs"
[ -z "$bad" ] || fail "$bad"
