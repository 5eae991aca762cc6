// SPDX-License-Identifier: Apache-2.0
// Text as the configuration of a bundle, and as options of every kind of field. What is accepted
// must be written and read again unchanged.
#include <nlohmann/json.hpp>

#include "foresight/core/options_json.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/json_file.hpp"
#include "target.hpp"

namespace {

enum class Colour { red, green };

}  // namespace

template <>
struct foresight::EnumNames<Colour> {
  static constexpr std::array<std::pair<std::string_view, Colour>, 2> names{
      {{"red", Colour::red}, {"green", Colour::green}}};
};

namespace {

struct Inner {
  int64_t width = 1;
  std::vector<double> weights;
  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("width", self.width, "");
    visit("weights", self.weights, "");
  }
};

/// One field of every kind that options may have.
struct Options {
  bool flag = false;
  int64_t count = 1;
  double rate = 0.5;
  std::string name = "x";
  Colour colour = Colour::red;
  std::vector<std::string> names;
  std::vector<int64_t> sizes;
  std::vector<Inner> layers;
  Inner inner;
  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("flag", self.flag, "");
    visit("count", self.count, "");
    visit("rate", self.rate, "");
    visit("name", self.name, "");
    visit("colour", self.colour, "");
    visit("names", self.names, "");
    visit("sizes", self.sizes, "");
    visit("layers", self.layers, "");
    visit("inner", self.inner, "");
  }
};

void read_as_bundle(const nlohmann::json& value) {
  using namespace foresight;
  io::BundleConfig config;
  if (!fuzz::accepts([&] { config = io::read_bundle_config(value, "config.json"); })) return;
  fuzz::promise(config.validate().empty(), "an invalid configuration was accepted");
  const nlohmann::json written = io::write_bundle_config(config);
  const nlohmann::json again = io::write_bundle_config(io::read_bundle_config(written, "again"));
  fuzz::promise(written == again, "a configuration changed by being written and read");
}

void read_as_options(const nlohmann::json& value) {
  using namespace foresight;
  Options options;
  const auto defaults = write_options(options);
  if (!fuzz::accepts([&] { read_options(options, value, "options"); })) {
    fuzz::promise(write_options(options) == defaults, "refused options left a change behind");
    return;
  }
  Options again;
  read_options(again, write_options(options), "again");
  fuzz::promise(write_options(again) == write_options(options),
                "options changed by being written and read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  nlohmann::json value;
  const auto text = foresight::fuzz::text(data, size);
  if (!foresight::fuzz::accepts([&] { value = foresight::io::parse_json(text, "fuzz"); })) return 0;
  read_as_bundle(value);
  read_as_options(value);
  return 0;
}
