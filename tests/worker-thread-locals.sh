#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The worker's thread starts with zero-filled thread-locals (RawThread), so the
# preload library must have none that start with anything else, and all must fit.
set -euo pipefail
library=$UZSWAP_BUILD/libuzswap-preload.so
[ -e "$library" ] || exit 77
command -v readelf >/dev/null || exit 77
# Type Offset VirtAddr PhysAddr FileSiz MemSiz Flg Align
read -r _ _ _ _ in_file in_memory _ < <(
  readelf -lW "$library" | grep -E '^ *TLS ' || echo 0 0 0 0 0 0 0)
if ((in_file != 0)); then
  echo "$library has thread-locals that are not zero at the start:"
  readelf -sW "$library" | grep ' TLS '
  exit 1
fi
# RawThread::kTlsBytes is for all modules together; half of it is ours.
if ((in_memory > 64 * 1024)); then
  echo "$library has $((in_memory)) bytes of thread-locals"
  exit 1
fi
