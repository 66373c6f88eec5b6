// SPDX-License-Identifier: Apache-2.0
#include "base/list.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <random>
#include <vector>

namespace uzswap {
namespace {

struct Item {
  int value = 0;
  ListLink link{};
  ListLink other{};
};
using Items = List<Item, &Item::link>;
using Others = List<Item, &Item::other>;

std::vector<int> Forwards(const Items& list) {
  std::vector<int> values;
  for (Item* i = list.Front(); i != nullptr; i = list.Next(i)) {
    values.push_back(i->value);
  }
  return values;
}

std::vector<int> Backwards(const Items& list) {
  std::vector<int> values;
  for (Item* i = list.Back(); i != nullptr; i = list.Prev(i)) {
    values.insert(values.begin(), i->value);
  }
  return values;
}

TEST(List, IsEmptyAtFirst) {
  Items list;
  list.CheckInvariants();
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.Front(), nullptr);
  EXPECT_EQ(list.Back(), nullptr);
  EXPECT_EQ(list.PopFront(), nullptr);
}

TEST(List, KeepsTheOrderOfItsEnds) {
  Item items[3] = {{.value = 0}, {.value = 1}, {.value = 2}};
  Items list;
  list.PushBack(&items[1]);
  list.PushFront(&items[0]);
  list.PushBack(&items[2]);
  list.CheckInvariants();
  EXPECT_EQ(Forwards(list), (std::vector<int>{0, 1, 2}));
  list.MoveToBack(&items[0]);
  EXPECT_EQ(Forwards(list), (std::vector<int>{1, 2, 0}));
  EXPECT_EQ(list.PopFront(), &items[1]);
  EXPECT_FALSE(Items::Linked(&items[1]));
  EXPECT_TRUE(Items::Linked(&items[2]));
  EXPECT_EQ(list.size(), 2u);
}

TEST(List, AnElementCanBeOnTwoLists) {
  Item item;
  Items list;
  Others others;
  list.PushBack(&item);
  others.PushBack(&item);
  list.Remove(&item);
  others.CheckInvariants();
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(others.Front(), &item);
}

TEST(List, CanBeMadeOfZeroedMemory) {
  alignas(Items) char memory[sizeof(Items)] = {};
  auto* list = reinterpret_cast<Items*>(memory);
  Item item;
  list->PushFront(&item);
  list->CheckInvariants();
  EXPECT_EQ(list->Back(), &item);
}

TEST(List, AgreesWithADequeOverRandomSteps) {
  std::mt19937 random(42);
  std::vector<Item> items(20);
  for (int i = 0; i < 20; ++i) items[static_cast<size_t>(i)].value = i;
  Items list;
  std::deque<int> model;
  for (int step = 0; step < 20'000; ++step) {
    Item* item = &items[random() % items.size()];
    if (!Items::Linked(item)) {
      const bool back = random() % 2 == 0;
      back ? list.PushBack(item) : list.PushFront(item);
      back ? model.push_back(item->value) : model.push_front(item->value);
    } else {
      const bool away = random() % 2 == 0;
      away ? list.Remove(item) : list.MoveToBack(item);
      std::erase(model, item->value);
      if (!away) model.push_back(item->value);
    }
    list.CheckInvariants();
    ASSERT_EQ(list.size(), model.size());
    ASSERT_EQ(Forwards(list), std::vector<int>(model.begin(), model.end()));
    ASSERT_EQ(Backwards(list), Forwards(list));
  }
}

TEST(ListDeathTest, CheckFindsABrokenLink) {
  Item items[3];
  Items list;
  for (Item& item : items) list.PushBack(&item);
  items[1].link.prev = &items[2].link;
  EXPECT_DEATH(list.CheckInvariants(), "check failed");
}

TEST(ListDeathTest, CheckFindsAnElementThatTheCountDoesNotKnow) {
  Item items[2];
  Items list;
  list.PushBack(&items[0]);
  items[1].link = {.next = items[0].link.next, .prev = &items[0].link};
  items[0].link.next->prev = &items[1].link;
  items[0].link.next = &items[1].link;
  EXPECT_DEATH(list.CheckInvariants(), "check failed");
}

#ifdef UZSWAP_DEBUG
TEST(ListDeathTest, InsertingTwiceDies) {
  Item item;
  Items list;
  list.PushBack(&item);
  EXPECT_DEATH(list.PushBack(&item), "linked");
}
#endif

}  // namespace
}  // namespace uzswap
