# SPDX-License-Identifier: Apache-2.0
# Sourced after functions.sh: programs whose parameters are changed while they
# run. begin_switching PERIOD [SETTING...]; then launchers that begin with
# "${switched[@]}" OPTIONS... -- PROGRAM; then end_switching.

# Every built-in compressor, at several levels, and the other parameters.
all_settings=(
  compressor=zstd "compressor=lz4 max_pool_percent=30" compressor=deflate
  "compressor=zstd:1 accept_threshold_percent=60" compressor=lz4hc
  "compressor=lzo-rle shrinker_enabled=Y" "compressor=zstd:-5 enabled=N"
  "compressor=842 enabled=Y max_pool_percent=70" compressor=copy
  "compressor=lz4 zpool=zsmalloc shrinker_enabled=N" "compressor=deflate:1"
  "compressor=lz4hc:9 accept_threshold_percent=90"
  "compressor=zstd:9 max_pool_percent=50"
)

# The launcher: says which `uzswap run` it is and becomes it.
cat >"$work/switched" <<'END'
#!/bin/bash
echo $$ >"$1.new"
mv "$1.new" "$1"
exec "${@:2}"
END
chmod 755 "$work/switched"
# The last words are the options of `uzswap run`.
switched=("$work/switched" "$work/run.pid" "$uzswap" run)

switching_loop() {
  local period=$1 i=0 pid
  shift
  trap - EXIT
  until [ -e "$work/stop-switching" ]; do
    sleep "$period"
    pid=$(cat "$work/run.pid" 2>/dev/null) || continue
    # A word is several settings.
    # shellcheck disable=SC2086
    if run_as_user "$uzswap" set --wait 5 "$pid" ${!#} \
      >/dev/null 2>"$work/set-error"; then
      echo "$*" >>"$work/switches"
    fi
    i=$((i + 1))
    # Refusals are failures; that the program has ended is none.
    grep 'refused' "$work/set-error" >>"$work/refusals" || true
    grep 'asleep\|yet' "$work/set-error" >>"$work/sleepers" || true
    set -- "${!#}" "${@:1:$#-1}"
  done
}

begin_switching() {  # PERIOD SETTING...
  rm -f "$work/stop-switching" "$work/switches" "$work/refusals" \
    "$work/run.pid"
  switching_loop "$@" &
  switching=$!
  cleanup_fn kill $switching 2\>/dev/null
}

end_switching() {  # AT_LEAST
  touch "$work/stop-switching"
  wait "$switching" || fail "the switching failed"
  [ ! -s "$work/refusals" ] || fail "refused: $(head -3 "$work/refusals")"
  local count=0
  [ ! -e "$work/switches" ] || count=$(wc -l <"$work/switches")
  echo "$count times other parameters were set"
  [ "$count" -ge "$1" ] || fail "only $count switches, expected $1"
}
