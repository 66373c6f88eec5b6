// SPDX-License-Identifier: Apache-2.0
// preload is not part of the engine that tests link: its unit tests include the
// files that they test.
#ifndef UZSWAP_PRELOAD_PINS_UNDER_TEST_H_
#define UZSWAP_PRELOAD_PINS_UNDER_TEST_H_

#include "preload/argument_table.cc"
#include "preload/arguments.cc"
#include "preload/fake_pager_test_support.h"
#include "preload/pinner_nested.cc"
#include "preload/pinner_special.cc"
#include "preload/pins.cc"
#include "preload/safe_copy.cc"
#include "preload/transfer.cc"

#endif  // UZSWAP_PRELOAD_PINS_UNDER_TEST_H_
