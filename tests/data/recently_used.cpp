// SPDX-License-Identifier: Apache-2.0
#include "../../src/data/video/recently_used.hpp"

#include <memory>
#include <vector>

#include "catch.hpp"

namespace foresight::data::recently_used_test {
namespace {

TEST_CASE("of more values than are kept, the one that was not asked for the longest goes") {
  RecentlyUsed<std::shared_ptr<int>> kept(2);
  int made = 0;
  const auto get = [&](const std::string& name) {
    return std::weak_ptr<int>(kept.get(name, [&] { return std::make_shared<int>(++made); }));
  };
  const auto a = get("a"), b = get("b");
  CHECK(*get("a").lock() == 1);
  const auto c = get("c");  // b goes
  CHECK_FALSE(a.expired());
  CHECK(b.expired());
  CHECK_FALSE(c.expired());
  CHECK(*get("b").lock() == 4);
  CHECK(a.expired());
  CHECK(made == 4);
  std::vector<std::weak_ptr<int>> many;
  for (int i = 0; i < 100; ++i) many.push_back(get(std::to_string(i)));
  CHECK(many[97].expired());
  CHECK_FALSE(many[98].expired());
}

TEST_CASE("values are dropped by name and by age") {
  RecentlyUsed<int> kept(3);
  for (const char* name : {"a", "b", "c"}) kept.get(name, [&] { return name[0] - 'a'; });
  std::vector<int> order;
  kept.visit_oldest_first([&](int value) { order.push_back(value); });
  CHECK(order == std::vector<int>{0, 1, 2});
  kept.drop("b");
  kept.drop("b");
  CHECK(kept.size() == 2);
  kept.drop_oldest();
  CHECK(kept.get("c", [] { return 7; }) == 2);
  CHECK(kept.get("b", [] { return 7; }) == 7);
  kept.drop("b");
  kept.drop("c");
  CHECK(kept.empty());
}

TEST_CASE("a value that cannot be made is asked for again") {
  RecentlyUsed<int> kept(1);
  CHECK_THROWS(kept.get("a", []() -> int { throw 1; }));
  CHECK(kept.get("a", [] { return 7; }) == 7);
}

}  // namespace
}  // namespace foresight::data::recently_used_test
