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
    if (values_.size() > most_) {
      places_.erase(values_.back().first);
      values_.pop_back();
    }
    return values_.front().second;
  }

 private:
  using Values = std::list<std::pair<std::string, Value>>;  // the last one first
  std::size_t most_;
  Values values_;
  std::map<std::string, typename Values::iterator> places_;
};

}  // namespace foresight::data
