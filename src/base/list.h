// SPDX-License-Identifier: Apache-2.0
// Intrusive doubly linked list: the links live in the elements, so that putting
// an element on a list never allocates and taking it off needs no search. The
// list does not own its elements and has no lock: its owner guards it.
#ifndef UZSWAP_BASE_LIST_H_
#define UZSWAP_BASE_LIST_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace uzswap {

// A member of every element; an element with several links can be on several
// lists.
//
// Invariant: next and prev are both null (on no list) or both not null.
// All-zero bytes are a valid link that is on no list.
struct ListLink {
  ListLink* next = nullptr;
  ListLink* prev = nullptr;

  bool linked() const { return next != nullptr; }
};

// Written List<Entry, &Entry::link>. With PushBack the front is the oldest.
//
// Invariants: the links form one ring through head_; for every link in it,
// next->prev == prev->next == the link itself; size_ elements are in the ring.
// All-zero bytes are an empty list. A list must not move while it has elements.
template <typename T, ListLink T::*kLink>
class List {
 public:
  constexpr List() = default;
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  bool empty() const { return size_ == 0; }
  uint64_t size() const { return size_; }
  // Nullptr when the list is empty.
  T* Front() const { return empty() ? nullptr : Element(head_.next); }
  T* Back() const { return empty() ? nullptr : Element(head_.prev); }
  // Nullptr after the last, before the first. REQUIRES: element is on this
  // list.
  T* Next(T* element) const { return Neighbour((element->*kLink).next); }
  T* Prev(T* element) const { return Neighbour((element->*kLink).prev); }

  // REQUIRES: element is on no list through this link.
  void PushFront(T* element) { Insert(Ring()->next, element); }
  void PushBack(T* element) { Insert(Ring(), element); }

  // REQUIRES: element is on this list.
  void Remove(T* element) {
    ListLink* link = &(element->*kLink);
    DCHECK(link->linked() && size_ > 0);
    DCHECK(link->next->prev == link && link->prev->next == link);
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = nullptr;
    --size_;
  }
  // Nullptr when the list is empty.
  T* PopFront() {
    T* element = Front();
    if (element != nullptr) Remove(element);
    return element;
  }
  void MoveToBack(T* element) {
    Remove(element);
    PushBack(element);
  }

  static bool Linked(const T* element) { return (element->*kLink).linked(); }

  // Dies at the first broken invariant.
  void CheckInvariants() const {
    CHECK((head_.next == nullptr) == (head_.prev == nullptr));
    if (head_.next == nullptr) {
      CHECK(size_ == 0);
      return;
    }
    uint64_t links = 0;
    const ListLink* link = &head_;
    do {
      CHECK(link->next != nullptr && link->next->prev == link);
      link = link->next;
      CHECK(links++ <= size_);
    } while (link != &head_);
    CHECK(links == size_ + 1);
  }

 private:
  // The head is tied into a ring at the first use only, so that a list can be
  // made of zeroed memory.
  ListLink* Ring() {
    if (head_.next == nullptr) head_.next = head_.prev = &head_;
    return &head_;
  }
  static T* Element(ListLink* link) {
    // A pointer to a data member is its offset (Itanium C++ ABI, 2.3.1).
    const auto offset = std::bit_cast<ptrdiff_t>(kLink);
    return reinterpret_cast<T*>(reinterpret_cast<char*>(link) - offset);
  }
  T* Neighbour(ListLink* link) const {
    return link == &head_ ? nullptr : Element(link);
  }
  void Insert(ListLink* before, T* element) {
    ListLink* link = &(element->*kLink);
    DCHECK(!link->linked());
    link->next = before;
    link->prev = before->prev;
    before->prev->next = link;
    before->prev = link;
    ++size_;
  }

  ListLink head_;
  uint64_t size_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_LIST_H_
