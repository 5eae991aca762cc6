// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/options.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "foresight/core/action_space.hpp"
#include "foresight/core/options_json.hpp"

namespace foresight::options_test {

namespace {

enum class Kind { soft, hard };

struct Inner {
  double weight = 0.5;
  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("weight", self.weight, "a weight");
  }
};

struct Outer {
  int64_t samples = 300;
  bool warm = true;
  std::string name = "cem";
  std::vector<double> limits = {1.0, 2.0};
  Kind kind = Kind::soft;
  Inner inner;
  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("samples", self.samples, "candidates");
    visit("warm", self.warm, "warm start");
    visit("name", self.name, "a name");
    visit("limits", self.limits, "limits");
    visit("kind", self.kind, "an enum");
    visit("inner", self.inner, "nested");
  }
  std::vector<std::string> validate() const {
    return Rules("Outer").check(samples <= 100, "samples", samples, "must be <= 100").problems();
  }
};

}  // namespace
}  // namespace foresight::options_test

template <>
struct foresight::EnumNames<foresight::options_test::Kind> {
  using Kind = options_test::Kind;
  static constexpr std::array<std::pair<std::string_view, Kind>, 2> names{
      {{"soft", Kind::soft}, {"hard", Kind::hard}}};
};

namespace foresight::options_test {

TEST_CASE("options survive a round trip through JSON") {
  Outer changed;
  changed.samples = 7;
  changed.kind = Kind::hard;
  changed.limits = {};
  changed.inner.weight = 0.25;
  Outer read;
  read_options(read, nlohmann::json::parse(write_options(changed).dump()), "config");
  CHECK(write_options(read) == write_options(changed));
  CHECK(write_options(Outer{})["inner"]["weight"] == 0.5);
}

TEST_CASE("unknown keys suggest the nearest, wrong types name the path, and nothing is half read") {
  Outer options;
  const auto read = [&](const char* text) {
    read_options(options, nlohmann::json::parse(text), "config.json");
  };
  CHECK_THROWS_WITH(read(R"({"samples": 5, "smaples": 3})"),
                    Catch::Contains("did you mean 'samples'"));
  CHECK(options.samples == 300);
  CHECK_THROWS_WITH(read(R"({"inner": {"weight": "x"}})"),
                    Catch::Contains("config.json.inner.weight"));
  CHECK_THROWS_WITH(read(R"({"samples": 1.5})"), Catch::Contains("an integer"));
  CHECK_THROWS_WITH(read(R"({"samples": 18446744073709551615})"), Catch::Contains("64 bits"));
  CHECK_THROWS_WITH(read(R"({"warm": 1})"), Catch::Contains("true or false"));
  CHECK_THROWS_WITH(read(R"({"kind": "sfot"})"), Catch::Contains("soft, hard"));
  CHECK_THROWS_WITH(read(R"({"limits": [1, null]})"), Catch::Contains("limits[1]"));
  CHECK_THROWS_AS(read("[]"), Error);
}

TEST_CASE("validation names the option, its value and the rule") {
  CHECK_THROWS_WITH(require_valid(Outer{}), Catch::Contains("Outer.samples = 300 must be <= 100"));
  Outer fine;
  fine.samples = 3;
  CHECK_NOTHROW(require_valid(fine));
}

TEST_CASE("edit distances are Levenshtein's") {
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(nearest_name("elits", std::vector<std::string>{"samples", "elites"}) == "elites");
  CHECK(nearest_name("zzzzzzzzzz", std::vector<std::string>{"samples"}).empty());
}

TEST_CASE("action blocks normalise per raw dimension and come back") {
  ActionSpace space;
  space.dim = 2;
  space.block = 3;
  space.mean = {1.0, -1.0};
  space.std = {2.0, 0.5};
  space.low = {-3.0, -2.0};
  space.high = {5.0, 0.0};
  require_valid(space);
  const auto raw = at::arange(12, at::kDouble).reshape({2, 3, 2});
  const auto blocks = space.normalise(raw);
  REQUIRE(blocks.sizes() == at::IntArrayRef({2, 6}));
  CHECK(blocks[0][0].item<double>() == Approx((0 - 1.0) / 2.0));
  CHECK(blocks[0][1].item<double>() == Approx((1 + 1.0) / 0.5));
  CHECK(blocks[0][4].item<double>() == Approx((4 - 1.0) / 2.0));
  CHECK(at::allclose(space.denormalise(blocks), raw));
  CHECK(at::allclose(space.normalise(raw.flatten(1)), blocks));
  CHECK(space.block_low()[2].item<float>() == Approx(-2.0));
  CHECK(space.block_high()[5].item<float>() == Approx(2.0));
  CHECK(at::equal(space.clamp_raw(at::tensor({9.0, -9.0})), at::tensor({5.0, -2.0})));
}

TEST_CASE("NaN actions become zero after normalising, and bad spaces are named") {
  ActionSpace space;
  space.mean = {4.0};
  space.std = {2.0};
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(at::equal(space.normalise(at::tensor({6.0, nan}).unsqueeze(-1)).flatten(),
                  at::tensor({1.0, 0.0})));
  CHECK_THROWS_WITH(space.normalise(at::zeros({2, 3})), Catch::Contains("[2, 3]"));
  space.std = {0.0};
  CHECK_THROWS_WITH(require_valid(space), Catch::Contains("ActionSpace.std = 0"));
  space.std = {1.0, 1.0};
  CHECK_THROWS_WITH(require_valid(space), Catch::Contains("one per dimension"));
  CHECK(space.block_low().isneginf().all().item<bool>());
  const double infinity = std::numeric_limits<double>::infinity();
  space.std = {};
  space.low = {infinity};
  CHECK_THROWS_WITH(require_valid(space), Catch::Contains("ActionSpace.low = inf"));
  space.low = {};
  space.high = {-infinity};
  CHECK_THROWS_WITH(require_valid(space), Catch::Contains("ActionSpace.high = -inf"));
  ActionSpace symbols;
  symbols.dim = 2;
  symbols.discrete = true;
  CHECK(at::equal(symbols.normalise(at::tensor({nan, 1.0}).unsqueeze(0)),
                  at::tensor({0.0, 1.0}).unsqueeze(0)));
}

TEST_CASE("blocks of one action keep the batch axis, whatever its size") {
  ActionSpace space;
  space.dim = 3;
  for (const int64_t batch : {1, 2}) {
    CHECK(space.normalise(at::ones({batch, 3})).sizes() == at::IntArrayRef({batch, 3}));
    CHECK(space.normalise(at::ones({batch, 1, 3})).sizes() == at::IntArrayRef({batch, 3}));
  }
}

}  // namespace foresight::options_test
