// SPDX-License-Identifier: Apache-2.0
// Bundles: what is written is read, a damaged one is refused, and replacement is all or nothing.
#include "foresight/io/bundle.hpp"

#include <chrono>
#include <cmath>
#include <functional>
#include <iterator>

#include "catch.hpp"
#include "child_process.hpp"
#include "error_message.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/io/load_tensors.hpp"
#include "no_rename_exchange.hpp"
#include "raw_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::bundle_test {

using foresight::io::BundleConfig;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

BundleConfig example(int64_t history = 3) {
  BundleConfig config;
  config.family = "jepa";
  config.options = {{"latent", 32}, {"image", {{"size", 64}, {"mean", {0.5, 0.4, 0.3}}}}};
  config.observation = {{"pixels", {64, 64, 3}, at::kByte}, {"proprio", {4}, at::kFloat}};
  config.action = {.dim = 2,
                   .block = 5,
                   .low = {-1, -2},
                   .high = {1, 2},
                   .mean = {0.1, 0.2},
                   .std = {0.3, 1e-8}};
  config.history = history;
  config.heads = {{"probe", {{"outputs", 2}}}};
  config.planner = {{"name", "cem"}, {"samples", 300}};
  config.provenance = {{"data", "pusht"}, {"epochs", 10}};
  return config;
}

io::NamedTensors example_tensors(double value = 1) {
  return {{"encoder.weight", at::full({64, 64}, value)},
          {"encoder.steps", at::zeros({}, at::kLong)},
          {"heads.probe.weight", at::full({2, 32}, value)}};
}

/// config.json of example() after `edit`, read.
template <class Edit>
std::function<void()> reading(Edit edit) {
  json object = io::write_bundle_config(example());
  edit(object);
  return [object] { io::read_bundle_config(object, "config.json"); };
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// Whether config and tensors belong to the same write of example(k) and example_tensors(k).
bool consistent(const io::Bundle& bundle) {
  return bundle.tensors.at("encoder.weight").eq(bundle.config.history).all().item<bool>();
}

}  // namespace

TEST_CASE("a bundle holds what was written") {
  TemporaryFolder folder;
  io::write_bundle(folder / "model", example(), example_tensors(2.5));
  const auto bundle = io::read_bundle(folder / "model");
  const auto expected = example();
  CHECK(bundle.config.family == "jepa");
  CHECK(bundle.config.options == expected.options);
  CHECK(bundle.config.heads == expected.heads);
  CHECK(bundle.config.planner == expected.planner);
  CHECK(bundle.config.provenance == expected.provenance);
  CHECK(bundle.config.history == 3);
  CHECK(bundle.config.action.mean == expected.action.mean);
  CHECK(bundle.config.action.std == expected.action.std);
  CHECK(bundle.config.action.high == expected.action.high);
  REQUIRE(bundle.config.observation.size() == 2);
  CHECK(bundle.config.observation[0].name == "pixels");
  CHECK(bundle.config.observation[0].shape == std::vector<int64_t>{64, 64, 3});
  CHECK(bundle.config.observation[0].dtype == at::kByte);
  CHECK(bundle.config.observation[1].dtype == at::kFloat);

  Tensor weight = at::zeros({64, 64}), steps = at::ones({}, at::kLong);
  io::load_into({{"encoder.weight", weight}, {"encoder.steps", steps}}, bundle.model_tensors(),
                "model");
  CHECK(weight.eq(2.5).all().item<bool>());
  const auto probe = bundle.head_tensors("probe");
  REQUIRE(probe.size() == 1);
  CHECK(probe[0].first == "weight");
  CHECK(io::with_head_prefix("probe", probe)[0].first == "heads.probe.weight");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { bundle.head_tensors("critic"); }, "'critic'", "probe"));
}

TEST_CASE("a configuration takes family, observation, action and history of a model") {
  ModelSpec spec;
  spec.family = "jepa";
  spec.observation = {{"pixels", {8, 8, 3}, at::kByte}};
  spec.action.dim = 7;
  spec.history = 4;
  const auto config = BundleConfig::of(spec);
  CHECK(config.family == "jepa");
  CHECK(config.observation.at(0).shape == std::vector<int64_t>{8, 8, 3});
  CHECK(config.action.dim == 7);
  CHECK(config.history == 4);
  CHECK(config.validate().empty());
}

TEST_CASE("a newer schema is refused with advice") {
  CHECK(fails_with(ErrorCategory::unsupported, reading([](json& c) {
                     c["schema"] = 2;
                     c["future_key"] = 1;
                   }),
                   "config.json: schema = 2", "update foresight"));
  CHECK(
      fails_with(ErrorCategory::bad_file, reading([](json& c) { c["schema"] = 0; }), "at least 1"));
  CHECK(fails_with(ErrorCategory::bad_file, reading([](json& c) { c.erase("schema"); }),
                   "'schema' is missing"));
  CHECK(fails_with(ErrorCategory::bad_file, reading([](json& c) { c["learn"] = json::object(); }),
                   "configuration of a training", "the folder 'bundle'"));
  CHECK(fails_with(ErrorCategory::invalid_option, reading([](json& c) { c["schema"] = "1"; }),
                   "schema"));
}

TEST_CASE("unknown and missing keys are named, with the nearest known one") {
  CHECK(fails_with(ErrorCategory::bad_file, reading([](json& c) { c["planer"] = json::object(); }),
                   "config.json: unknown key 'planer', did you mean 'planner'?"));
  for (const char* key : {"family", "options", "observation", "action", "history"})
    CHECK(fails_with(ErrorCategory::bad_file, reading([&](json& c) { c.erase(key); }),
                     "key '" + std::string(key) + "' is missing"));
  CHECK_NOTHROW(reading([](json& c) {
    for (const char* key : {"heads", "planner", "provenance"}) c.erase(key);
  })());
}

TEST_CASE("values of the wrong type or range are named with their path") {
  const auto option = ErrorCategory::invalid_option;
  const auto file = ErrorCategory::bad_file;
  CHECK(fails_with(option, reading([](json& c) { c["history"] = 1.5; }),
                   "config.json: history = 1.5"));
  CHECK(fails_with(option, reading([](json& c) { c["history"] = 0; }),
                   "history = 0 must be at least 1"));
  CHECK(fails_with(option, reading([](json& c) { c["family"] = ""; }), "family"));
  CHECK(fails_with(file, reading([](json& c) { c["options"] = 1; }), "options is not an object"));
  CHECK(fails_with(file, reading([](json& c) { c["planner"] = json::array(); }),
                   "planner is not an object"));
  CHECK(fails_with(option, reading([](json& c) { c["heads"]["probe"] = 1; }), "heads.probe"));
  CHECK(fails_with(option, reading([](json& c) { c["heads"]["a.b"] = json::object(); }),
                   "without dots"));
  CHECK(fails_with(file, reading([](json& c) { c["observation"] = json::object(); }),
                   "not an array"));
  CHECK(fails_with(file, reading([](json& c) { c["observation"][1]["dtype"] = "float8"; }),
                   "observation[1]", "float8", "float32"));
  CHECK(fails_with(file, reading([](json& c) { c["observation"][0].erase("shape"); }),
                   "'shape' is missing"));
  CHECK(fails_with(file, reading([](json& c) { c["observation"][0]["size"] = 1; }),
                   "unknown key 'size'"));
  CHECK(fails_with(option, reading([](json& c) { c["observation"][0]["shape"][1] = -3; }),
                   "pixels.shape"));
  CHECK(fails_with(option, reading([](json& c) { c["observation"][1]["name"] = "pixels"; }),
                   "not repeated"));
  CHECK(fails_with(option, reading([](json& c) { c["action"]["block"] = 0; }), "block"));
  CHECK(
      fails_with(option, reading([](json& c) { c["action"]["stdd"] = 0; }), "did you mean 'std'"));
  CHECK(fails_with(
      file, [] { io::read_bundle_config(json::array(), "config.json"); }, "not a JSON object"));
}

TEST_CASE("a folder without a whole bundle is refused") {
  TemporaryFolder folder;
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { io::read_bundle(folder / "absent"); }, "absent"));
  write_bytes(folder / "file", "x");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::read_bundle(folder / "file"); }, "is a file"));
  const auto model = folder / "model";
  io::write_bundle(model, example(), example_tensors());
  const auto config = read_bytes(model / "config.json"),
             tensors = read_bytes(model / "model.safetensors");
  fs::remove(model / "model.safetensors");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { io::read_bundle(model); }, "model.safetensors"));
  write_bytes(model / "model.safetensors", tensors.substr(0, tensors.size() - 1));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::read_bundle(model); }, "truncated"));
  write_bytes(model / "model.safetensors", tensors);
  write_bytes(model / "config.json", config.substr(0, config.size() / 2));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::read_bundle(model); }, "config.json", "not valid JSON"));
  fs::remove(model / "config.json");
  fs::create_directory(model / "config.json");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::read_bundle(model); }, "config.json", "folder"));
}

TEST_CASE("weights of another project in place of a bundle are told how to become one") {
  const TemporaryFolder folder;
  const auto refused = [&](ErrorCategory category, const fs::path& path, const char* words) {
    INFO(path);
    const char* import = "`foresight import vit FROM --out BUNDLE`";
    CHECK(fails_with(category, [&] { io::read_bundle(path); }, words, import, "vjepa2_ac"));
    CHECK(fails_with(category, [&] { io::read_bundle_config(path); }, words, import));
  };
  write_bytes(folder / "dinov2_vits14_pretrain.pth", "PK");
  refused(ErrorCategory::bad_file, folder / "dinov2_vits14_pretrain.pth",
          "dinov2_vits14_pretrain.pth: is a file, expected a bundle");
  fs::create_directory(folder / "weights");
  write_bytes(folder / "weights" / "model.safetensors", "x");
  refused(ErrorCategory::not_found, folder / "weights", "config.json: cannot open");
  fs::create_directory(folder / "hub");  // of transformers, in shards
  io::write_json(folder / "hub" / "config.json", {{"model_type", "dinov2"}});
  refused(ErrorCategory::bad_file, folder / "hub", "config.json: key 'schema' is missing");
  // The configuration alone needs no tensors.
  io::write_bundle(folder / "own", example(), example_tensors());
  fs::remove(folder / "own" / "model.safetensors");
  CHECK(io::read_bundle_config(folder / "own").family == "jepa");
}

TEST_CASE("an invalid bundle is not written and the previous one stays") {
  TemporaryFolder folder;
  const auto model = folder / "model";
  io::write_bundle(model, example(), example_tensors());
  const auto before = read_bytes(model / "config.json");
  auto bad = example();
  bad.action.std = {1, 2, 3};
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { io::write_bundle(model, bad, {}); }, "std"));
  bad = example();
  bad.options["x"] = std::nan("");
  CHECK(fails_with(
      ErrorCategory::non_finite, [&] { io::write_bundle(model, bad, {}); }, "options/x"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        io::write_bundle(model, example(), {{"w", Tensor()}});
      },
      "undefined"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        io::write_bundle(model, example(), {{"heads.critic.w", at::ones(1)}});
      },
      "head 'critic'"));
  CHECK(read_bytes(model / "config.json") == before);
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a folder that holds other files is not replaced") {
  TemporaryFolder folder;
  const auto model = folder / "model";
  fs::create_directory(model);
  io::write_bundle(model, example(1), example_tensors(1));       // an empty folder is
  io::write_bundle(model / "", example(2), example_tensors(2));  // and a bundle, also with a slash
  CHECK(io::read_bundle(model).config.history == 2);
  write_bytes(model / "notes.txt", "mine");
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { io::write_bundle(model, example(3), example_tensors(3)); }, "notes.txt"));
  CHECK(read_bytes(model / "notes.txt") == "mine");
  CHECK(io::read_bundle(model).config.history == 2);
  CHECK(entries(folder.path()) == 1);
  write_bytes(folder / "file", "x");
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { io::write_bundle(folder / "file", example(), {}); },
      "is a file"));
  CHECK(fails_with(
      ErrorCategory::not_found,
      [&] {
        io::write_bundle(folder / "no" / "model", example(), {{"heads.probe.w", at::ones(1)}});
      },
      "does not exist"));
}

TEST_CASE("a bundle does not replace another project's files of the same names, nor they it") {
  TemporaryFolder folder;
  const auto hub = folder / "hub";
  io::write_hf_folder(hub, {{"model_type", "vit"}}, {{"w", at::ones({2})}});
  const auto refused = [&] {
    return fails_with(
        ErrorCategory::invalid_argument,
        [&] { io::write_bundle(hub, example(), example_tensors()); }, "no config.json of a bundle",
        "'schema'");
  };
  const auto before = read_bytes(hub / "model.safetensors");
  CHECK(refused());
  write_bytes(hub / "config.json", "// no JSON");
  CHECK(refused());
  fs::remove(hub / "config.json");
  CHECK(refused());
  CHECK(read_bytes(hub / "model.safetensors") == before);

  io::write_bundle(folder / "own", example(1), example_tensors(1));
  CHECK(io::is_bundle(folder / "own"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { io::write_hf_folder(folder / "own", {{"model_type", "vit"}}, {}); }, "is a bundle"));
  CHECK(consistent(io::read_bundle(folder / "own")));
}

TEST_CASE("a bundle is replaced though a killed process left one of its files half written") {
  TemporaryFolder folder;
  const auto model = folder / "model";
  io::write_bundle(model, example(1), example_tensors(1));
  write_bytes(model / "config.json.tmp-abandoned012", "half");
  io::write_bundle(model, example(2), example_tensors(2));
  CHECK(consistent(io::read_bundle(model)));
  CHECK(entries(model) == 2);
  write_bytes(model / "notes.txt.tmp-abandoned012", "of a file that is none of a bundle's");
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { io::write_bundle(model, example(3), example_tensors(3)); }, "notes.txt.tmp"));
}

TEST_CASE("tensors of an opened bundle survive its replacement") {
  TemporaryFolder folder;
  io::write_bundle(folder / "model", example(1), example_tensors(1));
  const auto bundle = io::read_bundle(folder / "model");
  io::write_bundle(folder / "model", example(2), example_tensors(2));
  CHECK(consistent(bundle));
  CHECK(consistent(io::read_bundle(folder / "model")));
}

TEST_CASE("readers and killed writers never meet a mixture of two bundles") {
  TemporaryFolder folder;
  const auto model = folder / "model";
  std::vector<io::NamedTensors> versions;
  for (int i = 0; i < 4; ++i) versions.push_back(example_tensors(i + 1));
  io::write_bundle(model, example(1), versions[0]);
  int reads = 0;
  for (int round = 0; round < 8; ++round) {
    ChildProcess child([&]() -> int {
      for (int64_t i = 0;; ++i) io::write_bundle(model, example(i % 4 + 1), versions[i % 4]);
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20 + 5 * round);
    do {
      REQUIRE(consistent(io::read_bundle(model)));
      ++reads;
    } while (std::chrono::steady_clock::now() < end);
    CHECK(child.kill() == -SIGKILL);
    REQUIRE(consistent(io::read_bundle(model)));
  }
  INFO(reads << " reads");
  CHECK(reads >= 8);
  io::write_bundle(model, example(2), versions[1]);
  CHECK(entries(folder.path()) == 1);
  CHECK(io::read_bundle(model).config.history == 2);
}

TEST_CASE("a full disk leaves the previous bundle and nothing else") {
  TemporaryFolder folder;
  const auto model = folder / "model";
  io::write_bundle(model, example(1), example_tensors(1));
  const io::NamedTensors large{{"encoder.weight", at::full(1 << 18, 2.0)}};
  ChildProcess child([&] {
    limit_file_size(1 << 16);
    return fails_with(
               ErrorCategory::io_failure, [&] { io::write_bundle(model, example(2), large); },
               "cannot write")
               ? 0
               : 1;
  });
  CHECK(child.wait() == 0);
  CHECK(consistent(io::read_bundle(model)));
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a filesystem that cannot exchange names gets the bundle in two renames") {
  TemporaryFolder folder;
  const auto model = folder / "model";
  ChildProcess child([&] {
    if (!forbid_rename_exchange()) return 77;
    for (int64_t i = 1; i <= 3; ++i) {
      io::write_bundle(model, example(i), example_tensors(static_cast<double>(i)));
      const auto bundle = io::read_bundle(model);
      if (bundle.config.history != i || !consistent(bundle)) return 1;
    }
    return 0;
  });
  const int code = child.wait();
  if (code == 77) FORESIGHT_SKIP("this system does not allow seccomp filters");
  CHECK(code == 0);
  CHECK(entries(folder.path()) == 1);
}

}  // namespace foresight::bundle_test
