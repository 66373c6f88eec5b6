#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The same with everything evicted every 2 ms, on a small input.
source "$(dirname "$0")/jobs.sh"
requires g++
compare_chaos gxx 0
