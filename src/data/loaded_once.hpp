// SPDX-License-Identifier: Apache-2.0
// Pieces of files that several threads ask for: each is read once, by one of them, and the last
// ones are kept. Private to the data folder.
#pragma once

#include <cstdint>
#include <exception>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace foresight::data {

/// Values by number. Of more than `most` bytes those go that have not been asked for the longest,
/// but for the last one. Thread-safe.
template <class Value>
class LoadedOnce {
 public:
  using Shared = std::shared_ptr<const Value>;

  explicit LoadedOnce(std::int64_t most) : most_(most) {}

  /// The value of that number. If it is not there, `load()` gives it and its bytes (> 0), a pair;
  /// other threads that ask for it meanwhile wait. What `load` throws, all of them throw, and the
  /// next one tries again.
  template <class Load>
  Shared get(std::int64_t number, Load&& load) {
    std::unique_lock lock(mutex_);
    if (const auto found = places_.find(number); found != places_.end()) {
      values_.splice(values_.begin(), values_, found->second);
      const auto value = found->second->value;
      lock.unlock();
      return value.get();
    }
    std::promise<Shared> promise;
    values_.push_front({number, promise.get_future().share()});
    const auto place = places_[number] = values_.begin();
    lock.unlock();
    try {
      auto [value, bytes] = load();
      Shared shared = std::move(value);
      promise.set_value(shared);
      lock.lock();
      place->bytes = bytes;
      held_ += bytes;
      let_go(place);
      return shared;
    } catch (...) {
      if (!lock.owns_lock()) lock.lock();
      places_.erase(number);
      values_.erase(place);
      lock.unlock();
      promise.set_exception(std::current_exception());
      throw;
    }
  }

  /// Whether it is there, or being loaded.
  bool holds(std::int64_t number) const {
    const std::lock_guard lock(mutex_);
    return places_.contains(number);
  }

 private:
  struct Kept {
    std::int64_t number;
    std::shared_future<Shared> value;
    std::int64_t bytes = 0;  // 0: being loaded
  };
  using Values = std::list<Kept>;

  void let_go(typename Values::iterator newest) {
    for (auto it = values_.end(); held_ > most_ && it != values_.begin();) {
      --it;
      if (it == newest || it->bytes == 0) continue;
      held_ -= it->bytes;
      places_.erase(it->number);
      it = values_.erase(it);
    }
  }

  std::int64_t most_, held_ = 0;
  mutable std::mutex mutex_;
  Values values_;  // the last one first
  std::map<std::int64_t, typename Values::iterator> places_;
};

}  // namespace foresight::data
