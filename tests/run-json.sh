#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --stats-json: valid, complete, replaced in one step, also after a signal.
source "$(dirname "$0")/functions.sh"

file=$work/stats.json
echo old >"$file"
expect_exit 3 "$uzswap" run -q -m 32M --compressor zstd --idle 5m \
  --promotion-rate 0.25% --stats-json "$file" -- \
  sh -c "cat $file; /usr/bin/python3 -c 'x = bytearray(60 << 20)'; exit 3" \
  >"$work/out"
[ "$(cat "$work/out")" = old ] || fail "the old file was gone too early"
/usr/bin/python3 - "$file" <<'EOF' || fail "content"
import json, sys
r = json.load(open(sys.argv[1]))
assert r["exit_status"] == 3 and r["signal"] is None, r
assert r["command"][0] == "sh" and r["seconds"] > 0
assert r["settings"]["memory"] == 32 << 20
assert r["settings"]["compressor"] == "zstd"
assert r["settings"]["idle"] == 300
assert r["settings"]["promotion_rate"] == 25
assert r["processes_lost"] == 0
programs = [p["program"] for p in r["processes"]]
assert "sh" in programs and "python3" in programs, programs
top = max(r["processes"], key=lambda p: p["stats"]["peak_without_bytes"])
assert top["program"] == "python3" and top["state"] == "ended", top
s = top["stats"]
assert s["memory_limit"] == 32 << 20
assert s["peak_without_bytes"] >= 60 << 20, s
assert 0 < s["peak_bytes"] <= (32 << 20) * 1.05, s
assert s["pages_out"] > 0 and s["faults"] > 0
for name, value in r["totals"].items():
    parts = [p["stats"][name] for p in r["processes"]]
    assert value in (sum(parts), max(parts)), name
EOF

code=0
"$uzswap" run -q -m 32M --stats-json "$file" sh -c 'kill -TERM $$' || code=$?
[ $code = 143 ] || fail "ended with $code"
[ "$(json "$file" "['signal']")" = 15 ] || fail "signal"
[ "$(json "$file" "['exit_status']")" = None ] || fail "exit status"

# Not only files.
"$uzswap" run -q -m 32M --stats-json /dev/stdout true |
  /usr/bin/python3 -c 'import json, sys; json.load(sys.stdin)' || fail "pipe"
UZSWAP_STATS_JSON=$file.2 "$uzswap" run -q -m 32M true
[ "$(json "$file.2" "['exit_status']")" = 0 ] || fail "from the environment"
[ "$(ls "$work" | wc -l)" = 4 ] || fail "left: $(ls "$work")"
