// SPDX-License-Identifier: Apache-2.0
// Image encoders from Hugging Face folders against transformers: features, key layouts, and folders
// that are written back.
#include "foresight/models/hf_vit.hpp"

#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/same_tensors.hpp"
#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_models.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "golden.hpp"
#include "key_map.hpp"
#include "temporary_folder.hpp"

namespace foresight::hf_vit_test {

using nlohmann::json;

namespace {

constexpr std::array kFamilies{"hf/hf_vit", "hf/hf_ijepa", "hf/hf_dinov2"};

io::NamedTensors params(const Golden& golden) {
  io::NamedTensors tensors;
  for (const auto& item : golden.section("params")) tensors.emplace_back(item);
  return tensors;
}

void write_folder(const std::filesystem::path& folder, const json& config,
                  const io::NamedTensors& tensors) {
  std::filesystem::create_directories(folder);
  io::write_json(folder / "config.json", config);
  io::write_safetensors(folder / "model.safetensors", tensors);
}

// A fixture as the folder that a user has.
std::shared_ptr<nn::Vit> load(const Golden& golden, const io::NamedTensors& tensors) {
  const TemporaryFolder folder;
  write_folder(folder / "model", golden.config().at("hf_config"), tensors);
  return models::load_hf_vit(folder / "model");
}

void compare_run(Golden& golden, const nn::Vit& vit, const json& run, at::ScalarType type) {
  const std::string name = run.at("name");
  const auto key = (type == at::kDouble ? "outputs64/" : "outputs/") + name + ".";
  const auto& inputs = run.at("tensors");
  const auto images = golden.input(inputs.at("pixel_values").get<std::string>()).to(type);
  Tensor masked;
  if (inputs.contains("bool_masked_pos"))
    masked = golden.input(inputs.at("bool_masked_pos").get<std::string>());
  const auto tokens = vit.tokens(images, masked);
  golden.compare_resampled(key + "last_hidden_state", tokens);
  if (golden.has(key + "pooler_output"))
    golden.compare_resampled(key + "pooler_output",
                             vit.options().pooler ? vit.pool(tokens) : tokens.select(1, 0));
  if (!run.value("trace", false)) return;
  const auto hidden = vit.hidden_states(images);
  for (std::size_t i = 0; i < hidden.size(); ++i)
    golden.compare_resampled(key + "hidden_states." + std::to_string(i), hidden[i]);
}

void compare_bfloat16_run(Golden& golden, const nn::Vit& vit, const json& run) {
  const auto& inputs = run.at("tensors");
  const auto images = golden.input(inputs.at("pixel_values").get<std::string>());
  Tensor masked;
  if (inputs.contains("bool_masked_pos"))
    masked = golden.input(inputs.at("bool_masked_pos").get<std::string>());
  const auto narrow = images.to(at::kBFloat16);
  const auto name = run.at("name").get<std::string>() + ".";
  const auto of_network = roundings_of_network(vit.options().depth);
  const auto tokens = vit.tokens(narrow, masked);
  golden.compare_bfloat16(name + "last_hidden_state", tokens, of_network);
  if (golden.has("outputs/" + name + "pooler_output"))  // a product and tanh, less than a block
    golden.compare_bfloat16(name + "pooler_output",
                            vit.options().pooler ? vit.pool(tokens) : tokens.select(1, 0),
                            of_network + kRoundingsOfBlock);
  if (!run.value("trace", false)) return;
  const auto hidden = vit.hidden_states(narrow);
  for (std::size_t i = 0; i < hidden.size(); ++i)
    golden.compare_bfloat16(name + "hidden_states." + std::to_string(i), hidden[i],
                            roundings_of_network(static_cast<int64_t>(i)));
}

}  // namespace

TEST_CASE("ViT, I-JEPA and DINOv2 folders give transformers' features", "[parity][device]") {
  for (const auto* family : kFamilies) {
    for_each_golden(family, [](Golden& golden) {
      const auto vit = load(golden, params(golden));
      CHECK_FALSE(vit->is_training());
      at::NoGradGuard no_grad;
      for (const auto type : {at::kFloat, at::kDouble}) {
        vit->to(test_device(), type);
        for (const auto& run : golden.config().at("runs")) compare_run(golden, *vit, run, type);
      }
      vit->to(test_device(), at::kBFloat16);
      for (const auto& run : golden.config().at("runs")) compare_bfloat16_run(golden, *vit, run);
      CHECK(golden.uncompared("outputs").empty());
      CHECK(golden.uncompared("outputs64").empty());
    });
  }
}

namespace {

// The names that transformers 5 uses in memory, by the rules that the fixture states.
io::NamedTensors in_memory_layout(const io::NamedTensors& on_disk, bool dinov2) {
  io::NamedTensors result;
  for (auto [key, tensor] : on_disk) {
    for (const auto& [from, to] : {std::pair{"attention.attention.query", "attention.q_proj"},
                                   std::pair{"attention.attention.key", "attention.k_proj"},
                                   std::pair{"attention.attention.value", "attention.v_proj"},
                                   std::pair{"attention.output.dense", "attention.o_proj"},
                                   std::pair{"mlp.weights_out", "mlp.down_proj"}})
      key = with_replaced(key, from, to);
    if (!dinov2) {
      key = with_replaced(key, "intermediate.dense", "mlp.fc1");
      key = with_replaced(key, "output.dense", "mlp.fc2");
      key = with_replaced(key, "encoder.layer.", "layers.");
    }
    if (key.find("weights_in") != std::string::npos) {
      const auto halves = tensor.chunk(2, 0);
      result.emplace_back(with_replaced(key, "weights_in", "gate_proj"), halves[0].clone());
      result.emplace_back(with_replaced(key, "weights_in", "up_proj"), halves[1].clone());
    } else {
      result.emplace_back(key, tensor);
    }
  }
  return result;
}

std::set<std::string> names(const io::NamedTensors& tensors) {
  std::set<std::string> result;
  for (const auto& [name, tensor] : tensors) result.insert(name);
  return result;
}

}  // namespace

TEST_CASE("names as transformers 5 has them in memory load to the same network",
          "[parity][device]") {
  const auto layouts = golden_json("hf/hf_key_layouts.json").at("state_dict_keys");
  for (const auto* family : kFamilies) {
    for_each_golden(family, [&](Golden& golden) {
      const auto on_disk = params(golden);
      const bool dinov2 = golden.config().at("class").get<std::string>().starts_with("Dinov2");
      const auto renamed = in_memory_layout(on_disk, dinov2);
      const auto short_name = golden.name().substr(3);  // without "hf_"
      if (layouts.contains(short_name)) {
        const auto listed = layouts.at(short_name).at("in_memory");
        CHECK(names(renamed) == std::set<std::string>(listed.begin(), listed.end()));
      }
      const auto vit = load(golden, on_disk);
      const auto one = nn::state_dict(*vit);
      const std::map<std::string, Tensor> expected(renamed.begin(), renamed.end());
      for (const auto& [name, tensor] : nn::hf_vit_memory_tensors(*vit)) {
        INFO(name);
        REQUIRE(expected.contains(name));
        CHECK(at::equal(tensor, expected.at(name).cpu()));
      }
      CHECK(nn::hf_vit_memory_tensors(*vit).size() == renamed.size());
      const auto other = nn::state_dict(*load(golden, renamed));
      REQUIRE(one.size() == other.size());
      for (std::size_t i = 0; i < one.size(); ++i) CHECK(at::equal(one[i].second, other[i].second));
    });
  }
}

TEST_CASE("DINOv2's own names are those that its key map gives Hugging Face's") {
  const auto rules = golden_json("hf/dinov2_key_map.json").at("keys");
  for_each_golden("hf/hf_dinov2", [&](Golden& golden) {
    const auto on_disk = params(golden);
    const auto original = KeyMap(on_disk, "dinov2").apply(rules);
    check_same(nn::dinov2_tensors(*load(golden, on_disk)), original);
    check_same(nn::vit_tensors(original), nn::vit_tensors(on_disk));
  });
}

TEST_CASE("a folder from transformers loads by its model_type and is written back bit for bit") {
  const auto root = goldens_folder() / "hf" / "checkpoints";
  int loaded = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    INFO(entry.path());
    const auto before = io::read_hf_folder(entry.path());
    const auto model = models::load_hf_model(entry.path());
    CHECK(model.model_type == before.model_type());
    const auto vit = std::dynamic_pointer_cast<nn::Vit>(model.module);
    if (!vit) continue;  // a video model
    ++loaded;
    const TemporaryFolder folder;
    models::write_hf_vit(folder / "copy", *vit);
    const auto after = io::read_hf_folder(folder / "copy");
    const auto expected = before.tensors(), tensors = after.tensors();
    REQUIRE(names(tensors) == names(expected));
    for (std::size_t i = 0; i < tensors.size(); ++i)
      CHECK(at::equal(tensors[i].second, expected[i].second));
    for (const auto& [key, value] : after.config.items()) {
      INFO(key);
      CHECK(before.config.at(key) == value);
    }
    const auto again = models::describe_hf_vit(after);
    CHECK(again.image_size == vit->image_size());
    CHECK(again.options.mlp_width == vit->options().mlp_width);
  }
  CHECK(loaded >= 2);
}

TEST_CASE("a folder is replaced as a whole, and only where it holds nothing else") {
  const TemporaryFolder folder;
  const auto model = folder / "above" / "model";
  const json config{{"model_type", "vit"}};
  io::write_hf_folder(model, config, {{"x", at::zeros({2})}});
  const json unwritable{{"model_type", std::numeric_limits<double>::quiet_NaN()}};
  CHECK(fails_with(ErrorCategory::non_finite, [&] {
    io::write_hf_folder(model, unwritable, {{"x", at::ones({2})}});
  }));
  const auto kept = [&] { return io::read_hf_folder(model).tensors().front().second; };
  CHECK(at::equal(kept(), at::zeros({2})));
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "above"), {}) == 1);

  const nn::Vit vit({.patch = 4, .width = 8, .depth = 1, .heads = 2, .mlp_width = 8}, 8);
  io::write_json(model / "preprocessor_config.json", config);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { models::write_hf_vit(model, vit); },
      "preprocessor_config.json"));
  CHECK(at::equal(kept(), at::zeros({2})));
  std::filesystem::remove(model / "preprocessor_config.json");
  models::write_hf_vit(model, vit);
  CHECK(models::load_hf_vit(model)->options().width == 8);
}

TEST_CASE("a SwiGLU network is written with the ratio that gives back its width") {
  const TemporaryFolder folder;
  auto options = nn::VitOptions{.patch = 4,
                                .width = 24,
                                .depth = 1,
                                .heads = 2,
                                .mlp_width = 64,
                                .gated = true,
                                .layer_scale = true,
                                .mask_token = true,
                                .positions = nn::PositionResize::bicubic_float};
  models::write_hf_vit(folder / "a", nn::Vit(options, 8));
  CHECK(models::load_hf_vit(folder / "a")->options().mlp_width == 64);
  options.positions = nn::PositionResize::bicubic_offset;
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { models::write_hf_vit(folder / "b", nn::Vit(options, 8)); },
      "bicubic_offset"));
  CHECK_FALSE(std::filesystem::exists(folder / "b"));
}

}  // namespace foresight::hf_vit_test
