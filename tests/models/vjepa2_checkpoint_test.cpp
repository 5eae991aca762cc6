// SPDX-License-Identifier: Apache-2.0
// Published weights: names, sizes, which of two encoders, and what is refused.
#include "foresight/models/vjepa2_checkpoint.hpp"

#include <set>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_models.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "foresight/nn/state_dict.hpp"
#include "golden.hpp"
#include "parameters_at_depth.hpp"
#include "temporary_folder.hpp"

namespace foresight::vjepa2_checkpoint_test {

namespace {

models::VJepa2Options tiny() {
  auto options = models::VJepa2Options::tiny();
  options.encoder.depth = 2;
  options.encoder.image_height = options.encoder.image_width = options.image.size = 16;
  return options;
}

/// An original checkpoint of `model`, flattened, with a target encoder of `shift` larger weights.
io::NamedTensors checkpoint_of(const models::VJepa2& model, double shift) {
  io::NamedTensors tensors;
  for (const auto& [name, tensor] : nn::state_dict(model)) {
    const auto dot = name.find('.');
    const auto wrapped = ".module.backbone" + name.substr(dot);
    tensors.emplace_back(name.substr(0, dot) + wrapped, tensor.detach().clone());
    if (name.starts_with("encoder."))
      tensors.emplace_back("target_encoder" + wrapped, tensor.detach() + shift);
  }
  tensors.emplace_back("encoder.module.backbone.pos_embed", at::zeros({1, 4, 8}));
  tensors.emplace_back("opt.state.0.exp_avg", at::zeros({3}));
  return tensors;
}

}  // namespace

TEST_CASE("wrappers leave a key wherever they stand") {
  CHECK(models::vjepa2_key("encoder.module.backbone.blocks.3.attn.qkv.weight") ==
        "encoder.blocks.3.attn.qkv.weight");
  CHECK(models::vjepa2_key("module.backbone.norm.bias") == "norm.bias");
  CHECK(models::vjepa2_key("_orig_mod.module.backbone.norm.bias") == "norm.bias");
  CHECK(models::vjepa2_key("predictor.mask_tokens.7") == "predictor.mask_tokens.7");
  CHECK(models::vjepa2_key("backbones.module_x.y") == "backbones.module_x.y");
}

TEST_CASE("an original checkpoint loads the encoder that is asked for, and leaves the rest") {
  const models::VJepa2 original(tiny(), 3);
  const auto checkpoint = checkpoint_of(original, 0.5);
  for (const auto which : {models::EncoderWeights::online, models::EncoderWeights::target}) {
    models::VJepa2 model(tiny(), 4);
    models::load_vjepa2(model, checkpoint, which, "vitl.pt");
    const double shift = which == models::EncoderWeights::target ? 0.5 : 0.0;
    const auto expected = nn::state_dict(original), actual = nn::state_dict(model);
    REQUIRE(expected.size() == actual.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      INFO(actual[i].first);
      const double own = actual[i].first.starts_with("encoder.") ? shift : 0.0;
      CHECK(at::equal(actual[i].second, expected[i].second + own));
    }
  }
}

TEST_CASE("a checkpoint that is shared is not copied") {
  const models::VJepa2 original(tiny(), 3);
  const auto checkpoint = checkpoint_of(original, 0.5);
  models::VJepa2 sharing(tiny(), 4), copying(tiny(), 4);
  models::load_vjepa2(sharing, checkpoint, models::EncoderWeights::target, "vitl.pt",
                      io::Placement::share);
  models::load_vjepa2(copying, checkpoint, models::EncoderWeights::target, "vitl.pt");
  const auto shared = nn::state_dict(sharing), copied = nn::state_dict(copying);
  REQUIRE(shared.size() == copied.size());
  std::set<const void*> given;
  for (const auto& [name, tensor] : checkpoint) given.insert(tensor.data_ptr());
  for (std::size_t i = 0; i < shared.size(); ++i) {
    INFO(shared[i].first);
    CHECK(at::equal(shared[i].second, copied[i].second));
    CHECK(given.contains(shared[i].second.data_ptr()));
    CHECK_FALSE(given.contains(copied[i].second.data_ptr()));
  }
}

TEST_CASE("a checkpoint that lacks a part or a tensor changes nothing and says what is missing") {
  const models::VJepa2 original(tiny(), 3);
  auto checkpoint = checkpoint_of(original, 0.0);
  std::erase_if(checkpoint,
                [](const auto& item) { return item.first.starts_with("target_encoder"); });
  models::VJepa2 model(tiny(), 4);
  const auto before = model.encoder().parameters().front().clone();
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] { models::load_vjepa2(model, checkpoint, models::EncoderWeights::target, "vitl.pt"); },
      "vitl.pt", "no part 'target_encoder'", "encoder", "predictor"));
  std::erase_if(checkpoint,
                [](const auto& item) { return item.first.ends_with("blocks.1.norm2.bias"); });
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] { models::load_vjepa2(model, checkpoint, models::EncoderWeights::online, "vitl.pt"); },
      "vitl.pt", "encoder.blocks.1.norm2.bias"));
  CHECK(at::equal(model.encoder().parameters().front(), before));
}

TEST_CASE("sizes are read from a checkpoint's shapes; unknown widths are refused") {
  auto options = models::VJepa2Options::large();
  options.encoder.depth = 2;
  options.predictor.depth = 3;
  options.predictor.mask_tokens = 4;
  const models::VJepa2 model(options, std::nullopt);
  const auto read = models::describe_vjepa2(checkpoint_of(model, 0.0), 256, "vitl.pt");
  CHECK(read.encoder.width == 1024);
  CHECK(read.encoder.heads == 16);
  CHECK(read.encoder.depth == 2);
  CHECK(read.encoder.mlp_width == 4096);
  CHECK(read.predictor.depth == 3);
  CHECK(read.predictor.heads == 12);
  CHECK(read.predictor.mask_tokens == 4);
  auto target_alone = checkpoint_of(model, 0.0);
  std::erase_if(target_alone, [](const auto& item) { return item.first.starts_with("encoder."); });
  CHECK(models::describe_vjepa2(target_alone, 256, "vitl.pt").encoder.depth == 2);
  const models::VJepa2 small(tiny());
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] { models::describe_vjepa2(checkpoint_of(small, 0.0), 64, "tiny.pt"); }, "width 96",
      "1408", "--encoder_heads"));
  const auto given =
      models::describe_vjepa2(checkpoint_of(small, 0.0), 64, "tiny.pt", {{3, 2}, {}, {}});
  CHECK(given.encoder.heads == 3);
  CHECK(given.predictor.heads == 2);
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { models::describe_vjepa2(checkpoint_of(small, 0.0), 64, "tiny.pt", {{5, 2}, {}, {}}); },
      "heads"));
}

TEST_CASE("a file that claims a larger network than it holds is refused before that is made") {
  using enum ErrorCategory;
  const auto whole = checkpoint_of(models::VJepa2(tiny(), 3), 0.0);
  const auto describe = [&](const std::string& name, const Tensor& tensor) {
    auto tensors = whole;
    for (auto& [key, value] : tensors)
      if (models::vjepa2_key(key) == name) value = tensor;
    models::VJepa2FileOptions given;
    given.heads = {3, 2};
    return [=] { models::describe_vjepa2(tensors, 16, "tiny.pt", given); };
  };
  const int64_t width = tiny().encoder.width, narrow = tiny().predictor.width;
  CHECK_NOTHROW(describe("encoder.norm.bias", at::zeros(width))());
  CHECK(fails_with(bad_file, describe("encoder.patch_embed.proj.weight", at::zeros({1 << 20, 0})),
                   "tiny.pt", "patch_embed.proj.weight", "expected 5 axes"));
  CHECK(fails_with(bad_file,
                   describe("encoder.patch_embed.proj.weight", at::zeros({1 << 20, 3, 2, 0, 8})),
                   "'encoder.patch_embed.proj.weight' is empty"));
  CHECK(fails_with(bad_file, describe("encoder.blocks.0.mlp.fc1.weight", at::zeros({1 << 20, 0})),
                   "'encoder.blocks.0.mlp.fc1.weight' is empty"));
  CHECK(fails_with(bad_file, describe("encoder.blocks.0.mlp.fc1.weight", at::zeros({1 << 20, 1})),
                   "'encoder.blocks.0.mlp.fc1.weight' has shape", "as the other tensors have it"));
  CHECK(fails_with(bad_file, describe("encoder.blocks.1.attn.qkv.weight", at::zeros({1})),
                   "'encoder.blocks.1.attn.qkv.weight'"));
  CHECK(fails_with(bad_file, describe("predictor.predictor_embed.weight", at::zeros({1 << 20, 1})),
                   "mask_tokens.0"));
  CHECK(fails_with(bad_file, describe("predictor.predictor_embed.weight", at::zeros({narrow, 1})),
                   "'predictor.predictor_embed.weight' has shape"));
  CHECK(fails_with(bad_file,
                   describe("encoder.patch_embed.proj.weight", at::zeros({width, 3, 2, 1, 16})),
                   "'encoder.patch_embed.proj.weight' has shape [96, 3, 2, 1, 16]"));
}

TEST_CASE("positions that are added are as wide as the network before that is made") {
  const auto tensors = [](int64_t places, int64_t width) {
    auto all = checkpoint_of(models::VJepa2(tiny(), 3), 0.0);
    for (auto& [key, value] : all)
      if (key.ends_with("pos_embed")) value = at::zeros({1, places, width});
    return all;
  };
  models::VJepa2FileOptions given;
  given.heads = {3, 2};
  given.positions = nn::PositionKind::sincos;
  const auto describe = [&] { models::describe_vjepa2(tensors(1 << 18, 1), 16, "tiny.pt", given); };
  CHECK(fails_with(ErrorCategory::bad_file, describe,
                   "'encoder.pos_embed' has shape [1, 262144, 1], expected [1, 262144, 96]",
                   "no tensor 'predictor.predictor_pos_embed', expected [1, 262144, 48]"));
}

TEST_CASE("the network of more than twice a file's numbers is not made for a message") {
  auto tensors = checkpoint_of(models::VJepa2(tiny(), 3), 0.0);
  std::erase_if(tensors, [](const auto& item) { return item.first.starts_with("target_"); });
  int64_t whole = 0, left = 0;
  for (auto& [given, tensor] : tensors) {
    const auto key = models::vjepa2_key(given);
    whole += tensor.numel();
    const bool second = key.starts_with("encoder.blocks.1.");
    if (key.ends_with("attn.proj.weight") || key.ends_with("mlp.fc2.weight") ||
        (second && (key.ends_with("attn.qkv.weight") || key.ends_with("mlp.fc1.weight"))))
      tensor = at::zeros({1});
    left += tensor.numel();
  }
  REQUIRE(whole > 2 * left);
  const auto message = error_message(ErrorCategory::bad_file,
                                     [&] { models::describe_vjepa2(tensors, 16, "tiny.pt"); });
  CHECK_THAT(message, Catch::Contains("'encoder.blocks.1.attn.qkv.weight' has shape [1]") &&
                          Catch::Contains("'encoder.blocks.0.mlp.fc2.weight' has shape [1]") &&
                          !Catch::Contains("tensors do not fit the model"));
}

TEST_CASE("all that does not fit an original checkpoint is told at once, under the file's names") {
  io::NamedTensors tensors;
  for (auto& item : checkpoint_of(models::VJepa2(tiny(), 3), 0.0)) {
    auto key = models::vjepa2_key(item.first);
    if (key.starts_with("encoder.") || key == "predictor.predictor_norm.weight") continue;
    if (key == "target_encoder.norm.bias") key = "target_encoder.norm.bais";
    if (key == "target_encoder.blocks.1.attn.qkv.weight") item.second = at::zeros({1});
    tensors.emplace_back(key, item.second);
  }
  tensors.emplace_back("predictor.extra", at::zeros({1}));
  // No heads are given yet: the file comes first.
  const auto describe = [&] { models::describe_vjepa2(tensors, 16, "tiny.pt"); };
  INFO(error_message(ErrorCategory::bad_file, describe));
  CHECK(fails_with(ErrorCategory::bad_file, describe, "tiny.pt",
                   "'target_encoder.blocks.1.attn.qkv.weight' has shape [1], expected",
                   "'predictor.predictor_norm.weight' is missing",
                   "is it 'target_encoder.norm.bais'?", "'predictor.extra' is unexpected"));
}

TEST_CASE("what does not fit of a V-JEPA 2 folder is told by the names of its file") {
  const auto given = io::read_hf_folder(goldens_folder() / "hf/checkpoints/vjepa2");
  const auto refused = [&](const char* key, const nlohmann::json& value, auto change) {
    auto config = given.config;
    if (key) config[key] = value;
    auto tensors = given.tensors();
    change(tensors);
    const TemporaryFolder folder;
    io::write_json(folder / "config.json", config);
    io::write_safetensors(folder / "model.safetensors", tensors);
    return error_message(ErrorCategory::bad_file,
                         [&] { models::load_hf_vjepa2(io::read_hf_folder(folder.path())); });
  };
  const auto nothing = [](io::NamedTensors&) {};
  CHECK_THAT(refused("mlp_ratio", 3, nothing),
             Catch::Contains("mlp_ratio disagrees with tensor 'encoder.layer.0.mlp.fc1.weight'"));
  CHECK_THAT(refused("pred_num_mask_tokens", 4, nothing),
             Catch::Contains("pred_num_mask_tokens disagrees with tensor "
                             "'predictor.embeddings.mask_tokens' of shape [3, 1, 1, 24]"));
  // Too little is left for a network to be made.
  const auto few = refused(nullptr, {}, [](io::NamedTensors& tensors) {
    std::erase_if(tensors, [](const auto& item) {
      return item.first.find(".attention.key.") != std::string::npos;
    });
    for (auto& [name, tensor] : tensors)
      if (name.find("layer.") != std::string::npos && !name.ends_with("layer.0.mlp.fc1.weight"))
        tensor = at::zeros({1, 1});
  });
  CHECK_THAT(
      few, Catch::Contains("no tensor 'encoder.layer.1.attention.key.weight', expected [36, 36]") &&
               Catch::Contains("'predictor.layer.1.mlp.fc2.weight' has shape [1, 1], expected") &&
               !Catch::Contains("blocks.") && !Catch::Contains("qkv"));
}

TEST_CASE("pictures of another size than the encoder's are refused before anything is trained") {
  const auto refused = [](auto change, auto... words) {
    auto options = models::VJepa2Options::tiny();
    change(options);
    return fails_with(
        ErrorCategory::invalid_option, [&] { models::VJepa2 model(options, std::nullopt); },
        words...);
  };
  CHECK(refused([](auto& o) { o.image.size = 128; }, "image.size", "[128, 128]", "[64, 64]"));
  CHECK(refused([](auto& o) { o.image.width = 32; }, "image.size", "[64, 32]"));
  CHECK(refused([](auto& o) { o.image.resize = models::ResizeRule::shorter_edge; }, "image.resize",
                "'shorter_edge'"));
  CHECK_FALSE(refused([](auto& o) { o.image.width = o.encoder.image_width = 32; }));
}

TEST_CASE("weights go by a published name only where that code computes the same") {
  using enum models::VJepa2Layout;
  const auto refused = [](models::VJepa2Layout layout, auto change, auto... words) {
    auto options = models::VJepa2Options::tiny();
    options.encoder.rope = options.predictor.rope = nn::RopeConvention::tiled;
    change(options);
    return fails_with(
        ErrorCategory::unsupported, [&] { models::require_layout(options, layout); }, words...);
  };
  const auto interleaved = [](auto& o) { o.predictor.rope = nn::RopeConvention::interleaved; };
  const auto picture = [](auto& o) {
    o.encoder.frames = 1;
    o.encoder.positions = o.predictor.positions = nn::PositionKind::sincos;
  };
  for (const auto layout : {original, transformers}) {
    CHECK_FALSE(refused(layout, [](auto&) {}));
    CHECK(refused(layout, interleaved, "rotary"));
    CHECK(refused(
        layout, [](auto& o) { o.encoder.frames = 1; }, "sine-cosine"));
  }
  CHECK(refused(
      transformers, [](auto& o) { o.encoder.feed_forward = nn::FeedForward::swiglu; }, "gated"));
  CHECK(refused(
      transformers, [](auto& o) { o.encoder.image_width = 32; }, "not square"));
  CHECK(refused(
      transformers, [](auto& o) { o.predictor.qkv_bias = false; }, "of its own"));
  CHECK_FALSE(refused(transformers, picture));
  CHECK(refused(original, picture, "second mask token"));
  const auto actual = [](auto& o) { o.predictor.grid = nn::PredictorGrid::actual; };
  const auto wide = [&](auto& o) {
    actual(o);
    o.encoder.image_width = 32;
  };
  const auto epsilon = [](auto& o) { o.encoder.norm_epsilon = o.predictor.norm_epsilon = 1e-5; };
  CHECK_FALSE(refused(original, actual));
  CHECK(refused(original, wide, "not square"));
  CHECK(refused(original, epsilon, "1e-6"));
  CHECK_FALSE(refused(transformers, epsilon));  // its config.json tells

  models::VJepa2AcOptions robot;
  CHECK_NOTHROW(models::require_layout(robot));
  robot.predictor.norm_epsilon = 1e-5;
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { models::require_layout(robot); }, "1e-6"));
}

TEST_CASE("published sizes have the published numbers of parameters") {
  const auto encoder = [](nn::VideoVitOptions options) {
    return parameters_at_depth(options.depth, [&](int64_t depth) {
      options.depth = depth;
      return std::make_shared<nn::VideoVit>(options);
    });
  };
  const auto millions = [](int64_t count) { return static_cast<double>(count) * 1e-6; };
  CHECK(millions(encoder(nn::VideoVitOptions::large())) == Approx(303.9).epsilon(3e-4));
  CHECK(millions(encoder(nn::VideoVitOptions::huge())) == Approx(631.6).epsilon(3e-4));
  CHECK(millions(encoder(nn::VideoVitOptions::giant())) == Approx(1012.2).epsilon(3e-4));
  nn::MaskedVideoPredictorOptions masked;
  CHECK(millions(parameters_at_depth(12, [&](int64_t depth) {
          masked.depth = depth;
          return std::make_shared<nn::MaskedVideoPredictor>(masked, 1024, nn::TokenGrid{8, 16, 16});
        })) == Approx(22.1).epsilon(3e-3));
  nn::FrameCausalPredictorOptions causal;
  CHECK(millions(parameters_at_depth(24, [&](int64_t depth) {
          causal.depth = depth;
          return std::make_shared<nn::FrameCausalPredictor>(causal, 1408, nn::TokenGrid{8, 16, 16});
        })) == Approx(305.2).epsilon(1e-3));
}

TEST_CASE("names go to Hugging Face's and back, and what is not theirs stays as it is") {
  const auto folder = io::read_hf_folder(goldens_folder() / "hf/checkpoints/vjepa2");
  const auto given = folder.tensors();
  auto there_and_back = models::vjepa2_to_hf(models::vjepa2_from_hf(given));
  std::sort(there_and_back.begin(), there_and_back.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  REQUIRE(there_and_back.size() == given.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    CHECK(there_and_back[i].first == given[i].first);
    CHECK(at::equal(there_and_back[i].second, given[i].second));
  }
  // A key without its value and query cannot be fused: it is handed on under its own name.
  const io::NamedTensors lonely{{"encoder.layer.0.attention.key.weight", at::zeros({4, 4})},
                                {"something.else", at::zeros({1})}};
  for (const auto& [name, tensor] : models::vjepa2_from_hf(lonely))
    CHECK((name == lonely[0].first || name == lonely[1].first));
}

TEST_CASE("the table of Hugging Face families knows V-JEPA 2") {
  const auto model = models::load_hf_model(goldens_folder() / "hf/checkpoints/vjepa2");
  CHECK(model.model_type == "vjepa2");
  CHECK(std::dynamic_pointer_cast<models::VJepa2>(model.module) != nullptr);
}

}  // namespace foresight::vjepa2_checkpoint_test
