#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# g++: the same assembly in a quarter of the memory.
source "$(dirname "$0")/jobs.sh"
requires g++
compare gxx "$(choose 32 400)"
