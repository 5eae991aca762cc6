// SPDX-License-Identifier: Apache-2.0
#include "../../src/data/loaded_once.hpp"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "catch.hpp"

namespace foresight::data::loaded_once_test {
namespace {

struct Counted {
  LoadedOnce<int> values{100};
  std::atomic<int> loads{0};

  int get(int64_t number, int64_t bytes) {
    return *values.get(number, [&] {
      ++loads;
      return std::pair(std::make_shared<const int>(static_cast<int>(number)), bytes);
    });
  }
};

TEST_CASE("pieces are kept up to so many bytes, the last one whatever its size") {
  Counted counted;
  for (const int64_t number : {1, 2, 3}) CHECK(counted.get(number, 40) == number);
  CHECK(counted.loads == 3);
  CHECK_FALSE(counted.values.holds(1));  // 120 bytes are too many
  CHECK(counted.get(2, 40) == 2);
  CHECK(counted.loads == 3);
  CHECK(counted.get(4, 40) == 4);
  CHECK_FALSE(counted.values.holds(3));  // 2 was asked for later
  CHECK(counted.values.holds(2));
  CHECK(counted.get(5, 1000) == 5);
  CHECK(counted.values.holds(5));
  CHECK_FALSE(counted.values.holds(4));
}

TEST_CASE("threads that want the same piece read it once") {
  LoadedOnce<int> values{100};
  std::atomic<int> loads{0}, sum{0};
  const auto load = [&] {
    ++loads;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return std::pair(std::make_shared<const int>(7), int64_t{8});
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) threads.emplace_back([&] { sum += *values.get(3, load); });
  }
  CHECK(loads == 1);
  CHECK(sum == 28);
}

TEST_CASE("a piece that cannot be read is tried again") {
  Counted counted;
  const auto fail = []() -> std::pair<std::shared_ptr<const int>, int64_t> {
    throw std::runtime_error("gone");
  };
  CHECK_THROWS_AS(counted.values.get(1, fail), std::runtime_error);
  CHECK_FALSE(counted.values.holds(1));
  CHECK(counted.get(1, 1) == 1);
}

}  // namespace
}  // namespace foresight::data::loaded_once_test
