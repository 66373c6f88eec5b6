#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# git: add, repack, fsck, log; each git under the limit.
source "$(dirname "$0")/jobs.sh"
requires git
compare git "$(choose 8 200)"
