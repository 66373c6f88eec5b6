// SPDX-License-Identifier: Apache-2.0
#include "zswap/swapin_window.h"

#include <gtest/gtest.h>

#include <memory>

namespace uzswap {
namespace {

using Window = SwapInWindow;

std::unique_ptr<Window> OnADisk(uint64_t ns = 100000) {
  auto window = std::make_unique<Window>();
  window->NoteRead(ns, 1000);
  return window;
}

// Brings pages until the window changes, or `most` were brought, of which the
// first `hits` of ten are loaded and the others written back.
void Bring(Window& window, unsigned hits, uint64_t& next,
           uint64_t most = 100000) {
  const unsigned before = window.window();
  for (uint64_t i = 0; i < most && window.window() == before; ++i, ++next) {
    const Slot slot{next};
    window.NoteBrought(slot);
    if (next / 16 % 10 < hits) {
      window.NoteLoaded(slot);
    } else {
      window.NoteGone(slot);
    }
    window.CheckInvariants();
  }
}

TEST(SwapInWindow, NothingIsReadAheadBeforeAReadWasSeenNorWhereReadsAreFast) {
  Window window;
  EXPECT_EQ(window.Next(), 0u);
  for (int i = 0; i < 1000; ++i) {
    window.NoteRead(5000, 1000);
    ASSERT_EQ(window.Next(), 0u);
  }
}

TEST(SwapInWindow, OneReadThatWaitedDoesNotMakeAStorageSlow) {
  Window window;
  for (int i = 0; i < 100; ++i) window.NoteRead(5000, 1000);
  window.NoteRead(1000000000, 1000);
  EXPECT_EQ(window.Next(), 0u);
}

TEST(SwapInWindow, ADiskIsKnownByItsReadsAndAlsoWhenItBecomesFast) {
  const auto window = OnADisk();
  EXPECT_EQ(window->Next(), Window::kFirst);
  EXPECT_EQ(window->average_bytes(), 1000u);
  for (int i = 0; i < 100; ++i) window->NoteRead(5000, 2000);
  EXPECT_EQ(window->Next(), 0u);
  EXPECT_NEAR(static_cast<double>(window->average_bytes()), 2000, 50);
}

TEST(SwapInWindow, WhatIsUsedMakesItWiderUpToItsMost) {
  const auto window = OnADisk();
  uint64_t next = 0;
  Bring(*window, 10, next);
  EXPECT_EQ(window->window(), Window::kMost);
  Bring(*window, 10, next);
  EXPECT_EQ(window->window(), Window::kMost);
}

TEST(SwapInWindow, BetweenAQuarterAndAHalfItStays) {
  const auto window = OnADisk();
  uint64_t next = 0;
  for (int i = 0; i < 50; ++i) {
    // Four of ten, evenly.
    for (uint64_t k = 0; k < 1000; ++k, ++next) {
      window->NoteBrought(Slot{next});
      if (k % 5 < 2) {
        window->NoteLoaded(Slot{next});
      } else {
        window->NoteGone(Slot{next});
      }
    }
    ASSERT_GE(window->window(), 4u);
    ASSERT_LE(window->window(), 16u);
  }
}

TEST(SwapInWindow, WhatIsNotUsedMakesItNarrowerUntilOnlyProbesAreLeft) {
  const auto window = OnADisk();
  uint64_t next = 0;
  for (const unsigned expected : {4u, 2u, 0u}) {
    Bring(*window, 0, next);
    EXPECT_EQ(window->window(), expected);
  }
  unsigned probes = 0;
  for (unsigned i = 0; i < 10 * Window::kProbeEvery; ++i) {
    const unsigned pages = window->Next();
    probes += pages != 0;
    EXPECT_TRUE(pages == 0 || pages == Window::kProbe);
  }
  EXPECT_EQ(probes, 10u);
  Bring(*window, 10, next);
  EXPECT_EQ(window->window(), Window::kProbe);
}

TEST(SwapInWindow, PagesThatWereNotBroughtSayNothing) {
  const auto window = OnADisk();
  for (uint64_t slot = 0; slot < 100000; ++slot) {
    window->NoteGone(Slot{slot});
    window->NoteLoaded(Slot{slot});
  }
  EXPECT_EQ(window->window(), Window::kFirst);
}

// A working set of millions: most fates stay unknown for long.
TEST(SwapInWindow, PagesThatAreNotHeardOfAgainAreNoMisses) {
  const auto window = OnADisk();
  uint64_t next = 0;
  for (; next < 2000000; ++next) window->NoteBrought(Slot{next});
  EXPECT_EQ(window->window(), Window::kFirst);
  Bring(*window, 10, next);
  EXPECT_EQ(window->window(), Window::kMost);
}

}  // namespace
}  // namespace uzswap
