// SPDX-License-Identifier: Apache-2.0
// Published LeWM and PLDM checkpoints as bundles: the same numbers, and the same bytes back.
#include "foresight/models/lewm_import.hpp"

#include "error_message.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "lewm_golden.hpp"
#include "temporary_folder.hpp"

namespace foresight::lewm_import_test {

using io::NamedTensors;
using models::HfKeyLayout;

namespace {

NamedTensors published(const Golden& golden) {
  NamedTensors tensors;
  for (const auto& [key, tensor] : golden.section("params")) tensors.emplace_back(key, tensor);
  return tensors;
}

models::LewmImportOptions statistics(int64_t block, int64_t dim) {
  models::LewmImportOptions options;
  options.action.block = block;
  options.action.mean.assign(static_cast<std::size_t>(dim), 0.25);
  options.action.std.assign(static_cast<std::size_t>(dim), 0.5);
  return options;
}

models::LewmImportOptions statistics_of(const Golden& golden) {
  const auto options = golden_jepa_options(golden.config());
  return statistics(options.action.block, options.action.dim);
}

// Tensors of these shapes that take no memory.
NamedTensors of_shapes(const nlohmann::ordered_json& shapes) {
  NamedTensors tensors;
  for (const auto& [key, shape] : shapes.items()) {
    const auto type = key.ends_with("num_batches_tracked") ? at::kLong : at::kFloat;
    tensors.emplace_back(key, at::zeros({}, type).expand(shape.get<std::vector<int64_t>>()));
  }
  return tensors;
}

Tensor& tensor_of(NamedTensors& tensors, const std::string& key) {
  for (auto& [name, tensor] : tensors)
    if (name == key) return tensor;
  FAIL("no tensor " << key);
  return tensors.front().second;
}

// What import_lewm() says of `tensors` from which one thing is wrong.
template <class... Words>
bool refused(ErrorCategory category, const NamedTensors& tensors,
             const models::LewmImportOptions& options, const nlohmann::json& upstream,
             const Words&... words) {
  const auto import = [&] { models::import_lewm(tensors, options, upstream, "weights.pt"); };
  INFO(error_message(category, import));
  CHECK(fails_with(category, import, "weights.pt", words...));
  return fails_with(category, import, words...);
}

}  // namespace

TEST_CASE("a published checkpoint becomes a bundle of the same network, with its action statistics",
          "[parity]") {
  if (!on_cpu()) FORESIGHT_SKIP("bundles are read onto the CPU");
  for (const auto* family : {"lewm/lewm_rollout", "lewm/lewm_cem_plan", "lewm/pldm_rollout",
                             "lewm/pldm_train_step_recipe"})
    for_each_golden(family, [](Golden& golden) {
      const TemporaryFolder folder;
      const auto upstream = golden.config().at("model");
      const auto imported =
          models::import_lewm(published(golden), statistics_of(golden), upstream, golden.name());
      io::write_bundle(folder / "bundle", imported.config, imported.tensors);
      const auto model = models::read_jepa(folder / "bundle");

      auto expected = golden_jepa_options(golden.config());
      if (golden.has("params/idm.net.0.weight"))
        expected.inverse_dynamics_hidden = golden.param("idm.net.0.weight").size(0);
      const auto reference = golden_jepa(golden, expected);
      expected.action.mean = statistics_of(golden).action.mean;
      expected.action.std = statistics_of(golden).action.std;
      expected.loss = model->options().loss;
      CHECK(write_options(model->options()) == write_options(expected));
      const auto wanted = nn::state_dict(*reference), found = nn::state_dict(*model);
      REQUIRE(found.size() == wanted.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].first == wanted[i].first);
        CHECK(at::equal(found[i].second, wanted[i].second));
      }
    });
}

TEST_CASE("import and export give back every byte under the same name", "[parity]") {
  if (!on_cpu()) FORESIGHT_SKIP("bundles are read onto the CPU");
  for (const auto* family : {"lewm/lewm_rollout", "lewm/lewm_cem_plan"})
    for_each_golden(family, [](Golden& golden) {
      const TemporaryFolder folder;
      for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16}) {
        auto given = published(golden);
        for (auto& [key, tensor] : given)
          if (at::isFloatingType(tensor.scalar_type())) tensor = tensor.to(type);
        const auto imported = models::import_lewm(given, statistics_of(golden),
                                                  golden.config().at("model"), golden.name());
        io::write_bundle(folder / "bundle", imported.config, imported.tensors);
        const auto bundle = io::read_bundle(folder / "bundle");
        const auto layout = models::imported_layout(bundle.config);
        const bool newer = std::any_of(given.begin(), given.end(), [](const auto& item) {
          return item.first.starts_with("encoder.layers.");
        });
        CHECK((layout == HfKeyLayout::newer) == newer);
        auto back = models::export_lewm(bundle, layout);
        std::sort(back.begin(), back.end(),
                  [](const auto& a, const auto& b) { return a.first < b.first; });
        REQUIRE(back.size() == given.size());
        for (std::size_t i = 0; i < back.size(); ++i) {
          CHECK(back[i].first == given[i].first);
          CHECK(back[i].second.scalar_type() == given[i].second.scalar_type());
          CHECK(at::equal(back[i].second, given[i].second));
        }
      }
    });
}

TEST_CASE("pictures of another size than the positions' are refused, not forgotten") {
  const auto released = golden_json("lewm/lewm_released_keys.json");
  auto options = statistics(5, 2);
  options.image.size = 112;
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { models::import_lewm(of_shapes(released.at("keys")), options, nullptr, "w"); },
      "w: image.size = 112, but its positions are those of 224 pixels"));
}

TEST_CASE("the published network is recognised by its shapes alone") {
  const auto released = golden_json("lewm/lewm_released_keys.json");
  const auto imported =
      models::import_lewm(of_shapes(released.at("keys")), statistics(5, 2), nullptr, "weights.pt");
  auto expected = models::JepaOptions::lewm();
  auto options = write_options(expected);
  options.erase("action");
  options.erase("history");
  CHECK(imported.config.options == options);
  CHECK(imported.config.history == 3);
  CHECK(imported.config.action.dim == 2);
  CHECK(imported.config.action.std == std::vector<double>{0.5, 0.5});

  auto shorter = statistics(5, 2);
  shorter.history = 1;
  const auto one = models::import_lewm(of_shapes(released.at("keys")), shorter, nullptr, "w");
  CHECK(one.config.history == 1);
}

TEST_CASE("what no tensor tells must be given") {
  const Golden golden(golden_files("lewm/lewm_rollout").front());
  const auto tensors = published(golden);
  const auto upstream = golden.config().at("model");
  const auto given = statistics_of(golden);
  auto unknown = given;
  unknown.action.std.clear();
  CHECK(refused(ErrorCategory::invalid_option, tensors, unknown, upstream, "action statistics"));
  CHECK(refused(ErrorCategory::invalid_option, tensors, given, nullptr, "encoder_heads"));
  auto heads = given;
  heads.encoder_heads = 3;
  CHECK(refused(ErrorCategory::invalid_option, tensors, heads, nullptr, "predictor_heads"));
  heads.predictor_heads = 4;
  const auto by_options = models::import_lewm(tensors, heads, nullptr, "w");
  CHECK(by_options.config.options["vit"]["heads"] == 3);
  CHECK(by_options.config.options["adaln"]["head_width"] == 8);
  heads.predictor_heads = 5;
  CHECK(refused(ErrorCategory::invalid_option, tensors, heads, nullptr, "5 heads"));
  auto block = given;
  block.action.block = 4;
  CHECK(refused(ErrorCategory::invalid_option, tensors, block, upstream, "action.block = 4"));
  block = given;
  block.action.dim = 5;
  CHECK(refused(ErrorCategory::invalid_option, tensors, block, upstream, "action.dim = 5"));
  auto history = given;
  history.history = 4;
  CHECK(refused(ErrorCategory::invalid_option, tensors, history, upstream, "only 3 positions"));
}

TEST_CASE("weights that are not a LeWM's, or not this config.json's, are refused") {
  const Golden golden(golden_files("lewm/lewm_rollout").front());
  const auto upstream = golden.config().at("model");
  const auto given = statistics_of(golden);
  const auto refused_with = [&](const std::string& key, const Tensor& tensor,
                                const auto&... words) {
    auto tensors = published(golden);
    if (tensor.defined())
      tensor_of(tensors, key) = tensor;
    else
      std::erase_if(tensors, [&](const auto& item) { return item.first == key; });
    return refused(ErrorCategory::bad_file, tensors, given, upstream, words...);
  };
  CHECK(refused_with("encoder.embeddings.cls_token", {}, "lacks", "cls_token"));
  CHECK(refused_with("encoder.embeddings.cls_token", at::zeros({1, 1, 25}), "[24, 3, 8, 8]", "25"));
  CHECK(refused_with("encoder.embeddings.cls_token", at::zeros({}).expand({1, 1, 1 << 30}),
                     "projection"));
  CHECK(refused_with("encoder.embeddings.position_embeddings", at::zeros({1, 18, 24}), "square"));
  CHECK(refused_with("projector.net.0.bias", {}, "projector.net.0.bias", "missing"));
  CHECK(refused_with("projector.net.0.bias", at::zeros(3), "has shape [3], expected [36]"));
  CHECK(refused_with("predictor.transformer.layers.1.attn.to_qkv.weight", at::zeros({3, 24}),
                     "layers.1.attn.to_qkv.weight"));
  auto extra = published(golden);
  extra.emplace_back("head.weight", at::zeros(2));
  CHECK(refused(ErrorCategory::bad_file, extra, given, upstream, "head.weight", "unexpected"));
  auto twice = published(golden);
  twice.emplace_back("model." + twice.front().first, twice.front().second);
  CHECK(refused(ErrorCategory::bad_file, twice, given, upstream, "twice"));
  CHECK(refused(ErrorCategory::bad_file, {}, given, upstream, "lacks"));
  auto other = upstream;
  other["predictor"]["depth"] = 7;
  CHECK(refused(ErrorCategory::bad_file, published(golden), given, other,
                "config.json: predictor.depth = 7"));
}

TEST_CASE("all that does not fit a LeWM is told at once, with the nearest names") {
  const Golden golden(golden_files("lewm/lewm_rollout").front());
  auto tensors = published(golden);
  std::erase_if(tensors, [](const auto& item) { return item.first == "projector.net.0.bias"; });
  for (auto& [key, tensor] : tensors)
    if (key == "predictor.transformer.norm.bias") key = "predictor.transformer.norm.bais";
  tensor_of(tensors, "predictor.transformer.layers.1.attn.to_qkv.weight") = at::zeros({3, 24});
  tensors.emplace_back("head.weight", at::zeros(2));
  // Neither statistics nor heads are given yet: the file comes first.
  CHECK(refused(ErrorCategory::bad_file, tensors, {}, nullptr, "tensors do not fit",
                "layers.1.attn.to_qkv.weight' has shape [3, 24], expected",
                "'projector.net.0.bias' is missing", "is it 'predictor.transformer.norm.bais'?",
                "'head.weight' is unexpected"));
}

TEST_CASE("a Jepa that stable-worldmodel's classes cannot be is not exported") {
  const TemporaryFolder folder;
  const models::Jepa model(models::JepaOptions::small());
  models::write_jepa(folder / "bundle", model, models::jepa_bundle_config(model));
  const auto bundle = io::read_bundle(folder / "bundle");
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { models::export_lewm(bundle, HfKeyLayout::older); },
      "encoder but a ViT"));
}

TEST_CASE(
    "a Jepa that stable-worldmodel's classes would load and compute otherwise is not exported") {
  const TemporaryFolder folder;
  auto options = models::JepaOptions::lewm();
  options.image.size = 14;
  options.vit = {.patch = 7, .width = 6, .depth = 1, .heads = 1, .mlp_width = 8};
  options.latent = 6;
  options.projector.hidden = options.pred_proj.hidden = 8;
  options.action_encoder.width = 6;
  options.adaln = {.depth = 1, .width = 6, .heads = 1, .head_width = 4, .mlp_width = 8};
  int folders = 0;
  const auto written = [&](const models::JepaOptions& o, const nlohmann::json& provenance) {
    const auto path = folder / std::to_string(++folders);
    const models::Jepa model(o);
    auto config = models::jepa_bundle_config(model);
    config.provenance = provenance;
    models::write_jepa(path, model, config);
    return io::read_bundle(path);
  };
  const auto own = nlohmann::json::object();
  CHECK(!models::export_lewm(written(options, own), HfKeyLayout::older).empty());
  const auto named = [&](auto change, const std::string& words) {
    auto changed = options;
    change(changed.vit);
    const auto bundle = written(changed, own);
    return fails_with(
        ErrorCategory::unsupported, [&] { models::export_lewm(bundle, HfKeyLayout::older); },
        words);
  };
  CHECK(named([](auto& vit) { vit.activation = nn::Activation::relu; }, "exact GELU"));
  CHECK(named([](auto& vit) { vit.norm_epsilon = 1e-6; }, "1e-12"));
  CHECK(named([](auto& vit) { vit.positions = nn::PositionResize::bicubic_offset; }, "bicubic"));
  CHECK(named([](auto& vit) { vit.gated = true; }, "gated"));
  CHECK(named([](auto& vit) { vit.class_token = false; }, "class token"));
  CHECK(named([](auto& vit) { vit.mask_token = true; }, "mask token"));
  CHECK(named([](auto& vit) { vit.pooler = true; }, "pooler"));
  CHECK(named([](auto& vit) { vit.qkv_bias = false; }, "without bias"));

  INFO("what a file or its config.json said goes back");
  auto imported = options;
  imported.vit.norm_epsilon = 1e-6;
  const nlohmann::json origin = {{"key_layout", "newer"}};
  for (const auto& provenance : {origin, nlohmann::json{{"continued_from", origin}}})
    CHECK(!models::export_lewm(written(imported, provenance), HfKeyLayout::newer).empty());
}

}  // namespace foresight::lewm_import_test
