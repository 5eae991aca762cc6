// SPDX-License-Identifier: Apache-2.0
// Image encoders from Hugging Face folders against transformers: features, key layouts, shards, and
// what is said of folders that contradict themselves.
#include "foresight/models/hf_vit.hpp"

#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_models.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "golden.hpp"
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
  golden.compare(key + "last_hidden_state", tokens);
  if (golden.has(key + "pooler_output"))
    golden.compare(key + "pooler_output",
                   vit.options().pooler ? vit.pool(tokens) : tokens.select(1, 0));
  if (!run.value("trace", false)) return;
  const auto hidden = vit.hidden_states(images);
  for (std::size_t i = 0; i < hidden.size(); ++i)
    golden.compare(key + "hidden_states." + std::to_string(i), hidden[i]);
}

void compare_bfloat16_run(Golden& golden, const nn::Vit& vit, const json& run) {
  const auto& inputs = run.at("tensors");
  const auto images = golden.input(inputs.at("pixel_values").get<std::string>());
  Tensor masked;
  if (inputs.contains("bool_masked_pos"))
    masked = golden.input(inputs.at("bool_masked_pos").get<std::string>());
  golden.compare_bfloat16(run.at("name").get<std::string>() + ".last_hidden_state",
                          vit.tokens(images.to(at::kBFloat16), masked),
                          (vit.options().depth + 1) * kRoundingsOfBlock);
}

// A tiny DINOv2 folder and what to spoil in it.
struct Spoiled {
  json config;
  std::map<std::string, Tensor> tensors;

  Spoiled() {
    const Golden golden(goldens_folder() / "hf/hf_dinov2_with_registers.safetensors");
    config = golden.config().at("hf_config");
    tensors = golden.section("params");
  }
  void load() const {
    const TemporaryFolder folder;
    write_folder(folder / "m", config, {tensors.begin(), tensors.end()});
    models::load_hf_vit(folder / "m");
  }
};

template <class Spoil, class... Words>
bool refused(ErrorCategory category, Spoil&& spoil, const Words&... words) {
  Spoiled folder;
  spoil(folder);
  return fails_with(
      category, [&] { folder.load(); }, words...);
}

}  // namespace

TEST_CASE("ViT, I-JEPA and DINOv2 folders give transformers' features", "[parity]") {
  for (const auto* family : kFamilies) {
    for_each_golden(family, [](Golden& golden) {
      const auto vit = load(golden, params(golden));
      CHECK_FALSE(vit->is_training());
      at::NoGradGuard no_grad;
      for (const auto type : {at::kFloat, at::kDouble}) {
        vit->to(type);
        for (const auto& run : golden.config().at("runs")) compare_run(golden, *vit, run, type);
      }
      vit->to(at::kBFloat16);
      for (const auto& run : golden.config().at("runs")) compare_bfloat16_run(golden, *vit, run);
      CHECK(golden.uncompared("outputs").empty());
      CHECK(golden.uncompared("outputs64").empty());
    });
  }
}

namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// The names that transformers 5 uses in memory, by the rules that the fixture states.
io::NamedTensors in_memory_layout(const io::NamedTensors& on_disk, bool dinov2) {
  io::NamedTensors result;
  for (auto [key, tensor] : on_disk) {
    for (const auto& [from, to] : {std::pair{"attention.attention.query", "attention.q_proj"},
                                   std::pair{"attention.attention.key", "attention.k_proj"},
                                   std::pair{"attention.attention.value", "attention.v_proj"},
                                   std::pair{"attention.output.dense", "attention.o_proj"},
                                   std::pair{"mlp.weights_out", "mlp.down_proj"}})
      key = replaced(key, from, to);
    if (!dinov2) {
      key = replaced(key, "intermediate.dense", "mlp.fc1");
      key = replaced(key, "output.dense", "mlp.fc2");
      key = replaced(key, "encoder.layer.", "layers.");
    }
    if (key.find("weights_in") != std::string::npos) {
      const auto halves = tensor.chunk(2, 0);
      result.emplace_back(replaced(key, "weights_in", "gate_proj"), halves[0].clone());
      result.emplace_back(replaced(key, "weights_in", "up_proj"), halves[1].clone());
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

TEST_CASE("names as transformers 5 has them in memory load to the same network", "[parity]") {
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
        CHECK(at::equal(tensor, expected.at(name)));
      }
      CHECK(nn::hf_vit_memory_tensors(*vit).size() == renamed.size());
      const auto other = nn::state_dict(*load(golden, renamed));
      REQUIRE(one.size() == other.size());
      for (std::size_t i = 0; i < one.size(); ++i) CHECK(at::equal(one[i].second, other[i].second));
    });
  }
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

TEST_CASE("shards are read together, and must hold what their index lists") {
  const Spoiled whole;
  const TemporaryFolder folder;
  io::NamedTensors first, second;
  json map;
  for (const auto& [name, tensor] : whole.tensors) {
    auto& shard = map.size() % 2 ? second : first;
    map[name] =
        map.size() % 2 ? "model-00002-of-00002.safetensors" : "model-00001-of-00002.safetensors";
    shard.emplace_back(name, tensor);
  }
  std::filesystem::create_directories(folder / "m");
  io::write_json(folder / "m/config.json", whole.config);
  io::write_safetensors(folder / "m/model-00001-of-00002.safetensors", first);
  io::write_safetensors(folder / "m/model-00002-of-00002.safetensors", second);
  const auto write_index = [&](const json& index) {
    io::write_json(folder / "m/model.safetensors.index.json", index);
  };
  const auto read = [&] { models::load_hf_vit(folder / "m"); };
  write_index({{"metadata", {{"total_size", 1}}}, {"weight_map", map}});
  const auto vit = models::load_hf_vit(folder / "m");
  for (const auto& [name, tensor] : nn::hf_vit_tensors(*vit))
    CHECK(at::equal(tensor, whole.tensors.at(name)));

  auto spoiled = map;
  spoiled["embeddings.cls_token"] = "../model.safetensors";
  write_index({{"weight_map", spoiled}});
  CHECK(fails_with(ErrorCategory::bad_file, read, "embeddings.cls_token", "in this folder"));
  spoiled = map;
  spoiled.erase("embeddings.cls_token");
  write_index({{"weight_map", spoiled}});
  CHECK(fails_with(ErrorCategory::bad_file, read, "embeddings.cls_token", "not listed"));
  spoiled = map;
  spoiled["embeddings.nothing"] = "model-00001-of-00002.safetensors";
  write_index({{"weight_map", spoiled}});
  CHECK(fails_with(ErrorCategory::bad_file, read, "lacks tensor 'embeddings.nothing'"));
  write_index(json::array());
  CHECK(fails_with(ErrorCategory::bad_file, read, "weight_map"));
}

TEST_CASE("the encoder is taken out of a classifier's folder") {
  Spoiled folder;
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, tensor] : folder.tensors)
    tensors["dinov2_with_registers." + name] = tensor;
  tensors["classifier.weight"] = at::zeros({5, 64});
  tensors["classifier.bias"] = at::zeros({5});
  folder.tensors = tensors;
  folder.config["architectures"] = {"Dinov2WithRegistersForImageClassification"};
  folder.config["id2label"] = {{"0", "cat"}};
  CHECK_NOTHROW(folder.load());
  folder.tensors["decoder.weight"] = at::zeros({2});
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { folder.load(); }, "'decoder.weight' is unexpected"));
}

TEST_CASE("a configuration that the weights contradict is refused before anything is allocated") {
  const auto changed = [](const char* key, const json& value) {
    return [=](Spoiled& folder) { folder.config[key] = value; };
  };
  using enum ErrorCategory;
  CHECK(refused(bad_file, changed("hidden_size", 64), "hidden_size = 64", "[32, 3, 7, 7]"));
  CHECK(refused(bad_file, changed("hidden_size", 1 << 24), "hidden_size = 16777216"));
  CHECK(refused(bad_file, changed("patch_size", 6), "patch_size = 6"));
  CHECK(refused(bad_file, changed("image_size", 49), "image_size = 49", "[1, 50, 32]"));
  CHECK(refused(bad_file, changed("num_hidden_layers", 3), "num_hidden_layers = 3", "2 layers"));
  CHECK(refused(bad_file, changed("mlp_ratio", 3), "feed-forward width of 96"));
  CHECK(refused(bad_file, changed("num_register_tokens", 4), "num_register_tokens = 4"));
  CHECK(refused(bad_file, changed("num_register_tokens", 0), "register_tokens' is unexpected"));
  CHECK(refused(bad_file, changed("use_swiglu_ffn", true), "feed-forward width"));
  CHECK(refused(bad_file, changed("use_mask_token", false), "mask_token' is unexpected"));
  CHECK(refused(bad_file, changed("qkv_bias", false), "query.bias' is unexpected"));
  CHECK(refused(invalid_option, changed("num_attention_heads", 5), "heads = 5"));
}

TEST_CASE("values of a configuration that are no such values are refused") {
  const auto changed = [](const char* key, const json& value) {
    return [=](Spoiled& folder) { folder.config[key] = value; };
  };
  using enum ErrorCategory;
  CHECK(refused(bad_file, changed("hidden_size", -1), "hidden_size = -1", "1..16777216"));
  CHECK(refused(bad_file, changed("hidden_size", 1e30), "hidden_size"));
  CHECK(refused(bad_file, changed("hidden_size", std::uint64_t{1} << 63), "hidden_size"));
  CHECK(refused(bad_file, changed("hidden_size", "32"), "hidden_size = \"32\""));
  CHECK(refused(bad_file, changed("layer_norm_eps", 0), "layer_norm_eps = 0"));
  CHECK(refused(bad_file, changed("mlp_ratio", "2"), "mlp_ratio"));
  CHECK(refused(bad_file, changed("qkv_bias", 1), "qkv_bias = 1", "true or false"));
  CHECK(refused(bad_file, changed("image_size", {42, 48}), "image_size = [42,48]"));
  CHECK(refused(unsupported, changed("hidden_act", "tanhshrink"), "tanhshrink", "gelu"));
  CHECK(refused(unsupported, changed("model_type", "clip"), "'clip'", "dinov2"));
  CHECK(refused(bad_file, changed("hiden_size", 32), "unknown key 'hiden_size'", "'hidden_size'"));
  CHECK(refused(
      bad_file, [](Spoiled& f) { f.config.erase("hidden_size"); }, "'hidden_size' is missing"));
  CHECK(refused(
      bad_file, [](Spoiled& f) { f.config.erase("model_type"); }, "model_type"));
  // Older files have lists of two edges, and nulls where nothing was chosen.
  Spoiled folder;
  folder.config["image_size"] = {42, 42};
  folder.config["layer_norm_eps"] = nullptr;
  folder.config["_name_or_path"] = "facebook/dinov2";
  CHECK_NOTHROW(folder.load());
}

TEST_CASE("missing, superfluous and misshaped tensors are named as the file names them") {
  using enum ErrorCategory;
  CHECK(refused(
      bad_file,
      [](Spoiled& f) {
        f.tensors["encoder.layer.0.norm1.wieght"] = f.tensors.at("encoder.layer.0.norm1.weight");
        f.tensors.erase("encoder.layer.0.norm1.weight");
      },
      "'encoder.layer.0.norm1.weight' is missing", "is it 'encoder.layer.0.norm1.wieght'?"));
  CHECK(refused(
      bad_file, [](Spoiled& f) { f.tensors["layernorm.bias"] = at::zeros({31}); },
      "'layernorm.bias' has shape [31], expected [32]"));
  CHECK(refused(
      bad_file, [](Spoiled& f) { f.tensors["layernorm.bias"] = at::zeros({32}, at::kLong); },
      "'layernorm.bias' has type Long"));
  CHECK(refused(
      bad_file,
      [](Spoiled& f) { f.tensors.erase("embeddings.patch_embeddings.projection.weight"); },
      "lacks tensor 'embeddings.patch_embeddings.projection.weight'"));
  CHECK(refused(
      bad_file,
      [](Spoiled& f) {
        for (const auto* key : {"query.weight", "query.bias"})
          f.tensors.erase(std::string("encoder.layer.1.attention.attention.") + key);
      },
      "encoder.layer.1.attention.attention.query.weight"));
  // Half precision loads; the network is float32.
  Spoiled folder;
  for (auto& [name, tensor] : folder.tensors) tensor = tensor.to(at::kHalf);
  CHECK_NOTHROW(folder.load());
}

TEST_CASE("folders that are none, or hold pickles only, are said to be so") {
  const TemporaryFolder folder;
  const auto read = [&] { models::load_hf_model(folder / "m"); };
  CHECK(fails_with(ErrorCategory::not_found, read, "no such folder"));
  std::filesystem::create_directories(folder / "m");
  CHECK(fails_with(ErrorCategory::not_found, read, "config.json"));
  io::write_json(folder / "m/config.json", json{{"model_type", "vit"}});
  CHECK(fails_with(ErrorCategory::not_found, read, "model.safetensors"));
  io::write_text(folder / "m/pytorch_model.bin", "x");
  CHECK(fails_with(ErrorCategory::not_found, read, "pickle", "safe_serialization"));
  io::write_safetensors(folder / "m/model.safetensors", {{"a", at::zeros({1})}});
  io::write_json(folder / "m/config.json", json{{"model_type", "bert"}});
  CHECK(fails_with(ErrorCategory::unsupported, read, "'bert'", "dinov2_with_registers"));
}

}  // namespace foresight::hf_vit_test
