// SPDX-License-Identifier: Apache-2.0
// The things that were asked for last, of which there may be more than can be kept open. Private to
// the data folder.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <string>
#include <utility>

namespace foresight::data {

/// Values by name; of more than `most`, those go that have not been asked for the longest. Not
/// thread-safe.
template <class Value>
class RecentlyUsed {
 public:
  explicit RecentlyUsed(std::size_t most) : most_(most) {}

  /// The value of that name, which `make()` gives if it is not there. Valid until the next call.
  template <class Make>
  Value& get(const std::string& name, Make&& make) {
    if (const auto found = places_.find(name); found != places_.end()) {
      values_.splice(values_.begin(), values_, found->second);
      return values_.front().second;
    }
    values_.emplace_front(name, make());
    places_[name] = values_.begin();
    if (values_.size() > most_) drop_oldest();
    return values_.front().second;
  }

  /// The value of that name, or null; it does not count as asked for.
  const Value* find(const std::string& name) const {
    const auto found = places_.find(name);
    return found == places_.end() ? nullptr : &found->second->second;
  }

  std::size_t size() const { return values_.size(); }
  bool empty() const { return values_.empty(); }

  /// Whether it is there or not.
  void drop(const std::string& name) {
    const auto found = places_.find(name);
    if (found == places_.end()) return;
    const auto value = found->second;
    places_.erase(found);
    values_.erase(value);
  }

  /// The one that has not been asked for the longest; there is one.
  void drop_oldest() {
    places_.erase(values_.back().first);
    values_.pop_back();
  }

  /// Calls visit(value), that which has not been asked for the longest first.
  template <class Visit>
  void visit_oldest_first(Visit&& visit) {
    for (auto at = values_.rbegin(); at != values_.rend(); ++at) visit(at->second);
  }

 private:
  using Values = std::list<std::pair<std::string, Value>>;  // the last one first
  std::size_t most_;
  Values values_;
  std::map<std::string, typename Values::iterator> places_;
};

}  // namespace foresight::data
