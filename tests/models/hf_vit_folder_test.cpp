// SPDX-License-Identifier: Apache-2.0
// Hugging Face folders of image encoders as they lie on disk: shards, encoders within classifiers,
// and what is said of folders that contradict themselves.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_models.hpp"
#include "foresight/models/hf_vit.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "golden.hpp"
#include "temporary_folder.hpp"

namespace foresight::hf_vit_folder_test {

using nlohmann::json;

namespace {

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
    std::filesystem::create_directories(folder / "m");
    io::write_json(folder / "m/config.json", config);
    io::write_safetensors(folder / "m/model.safetensors", {tensors.begin(), tensors.end()});
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

// Whether memory of this process is a mapped file of that name.
bool lies_in_file(const void* memory, const std::string& name) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR, &begin, &end) == 2 && begin <= address &&
        address < end)
      return line.ends_with(name);
  }
  return false;
}

}  // namespace

TEST_CASE("an encoder's weights may stay in the mapped file of its folder") {
  const auto folder = io::read_hf_folder(goldens_folder() / "hf/checkpoints/vit");
  const auto shared = models::load_hf_vit(folder, io::Placement::share),
             copied = models::load_hf_vit(folder);
  std::set<const void*> mapped;
  for (const auto& [name, tensor] : folder.tensors()) mapped.insert(tensor.const_data_ptr());
  const auto expected = nn::state_dict(*copied), found = nn::state_dict(*shared);
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO(found[i].first);
    CHECK(at::equal(found[i].second, expected[i].second));
    CHECK(mapped.contains(found[i].second.const_data_ptr()));
    CHECK_FALSE(mapped.contains(expected[i].second.const_data_ptr()));
  }
}

TEST_CASE("a model of any family may stay in the mapped file of its folder") {
  if (!std::filesystem::exists("/proc/self/maps")) {
    WARN("no /proc/self/maps here");
    return;
  }
  for (const auto* type : {"vit", "vjepa2"}) {
    INFO(type);
    const auto mapped = [&](io::Placement placement) {
      const auto model =
          models::load_hf_model(goldens_folder() / "hf/checkpoints" / type, placement);
      const auto weights = model.module->parameters();
      const auto count = std::count_if(weights.begin(), weights.end(), [](const Tensor& weight) {
        return lies_in_file(weight.const_data_ptr(), "model.safetensors");
      });
      return static_cast<double>(count) / static_cast<double>(weights.size());
    };
    // Queries, keys and values that a file has apart are made one.
    CHECK(mapped(io::Placement::share) >= (type == std::string("vit") ? 1.0 : 0.5));
    CHECK(mapped(io::Placement::copy) == 0.0);
  }
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
      "'embeddings.patch_embeddings.projection.weight' is missing"));
  CHECK(refused(
      bad_file,
      [](Spoiled& f) {
        for (const auto* key : {"query.weight", "query.bias"})
          f.tensors.erase(std::string("encoder.layer.1.attention.attention.") + key);
      },
      "encoder.layer.1.attention.attention.query.weight"));
  CHECK(refused(
      bad_file,
      [](Spoiled& f) {
        f.tensors["encoder.layer.1.attention.attention.query.weight"] = at::zeros({3, 4});
        f.tensors["extra.weight"] = at::zeros({3});
        f.tensors["embeddings.position_embedings"] = f.tensors.at("embeddings.position_embeddings");
        for (const auto* key : {"embeddings.position_embeddings", "layernorm.bias"})
          f.tensors.erase(key);
      },
      "'encoder.layer.1.attention.attention.query.weight' has shape [3, 4], expected [32, 32]",
      "'extra.weight' is unexpected", "is it 'embeddings.position_embedings'?",
      "'layernorm.bias' is missing"));
  // Half precision loads; the network is float32.
  Spoiled folder;
  for (auto& [name, tensor] : folder.tensors) tensor = tensor.to(at::kHalf);
  CHECK_NOTHROW(folder.load());
}

TEST_CASE("folders that are none, or hold shards of pickles only, are said to be so") {
  const TemporaryFolder folder;
  const auto read = [&] { models::load_hf_model(folder / "m"); };
  CHECK(fails_with(ErrorCategory::not_found, read, "no such folder"));
  std::filesystem::create_directories(folder / "m");
  CHECK(fails_with(ErrorCategory::not_found, read, "config.json"));
  io::write_json(folder / "m/config.json", json{{"model_type", "vit"}});
  CHECK(fails_with(ErrorCategory::not_found, read, "model.safetensors"));
  io::write_text(folder / "m/pytorch_model.bin.index.json", "x");
  CHECK(fails_with(ErrorCategory::not_found, read, "pickle", "safe_serialization"));
  io::write_safetensors(folder / "m/model.safetensors", {{"a", at::zeros({1})}});
  io::write_json(folder / "m/config.json", json{{"model_type", "bert"}});
  CHECK(fails_with(ErrorCategory::unsupported, read, "'bert'", "dinov2_with_registers"));
}

}  // namespace foresight::hf_vit_folder_test
