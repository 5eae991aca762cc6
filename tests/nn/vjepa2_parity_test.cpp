// SPDX-License-Identifier: Apache-2.0
// The network parts of V-JEPA 2 against the reference implementation: rotary positions, attention,
// encoder, masked and action-conditioned predictor.
#include "vjepa2_golden_nn.hpp"

namespace foresight::vjepa2_parity_test {

namespace {

constexpr std::array kTypes{at::kFloat, at::kDouble};

std::string section_of(at::ScalarType type) {
  return type == at::kDouble ? "outputs64/" : "outputs/";
}

void check_complete(const Golden& golden) {
  CHECK(golden.uncompared("outputs").empty());
  CHECK(golden.uncompared("outputs64").empty());
}

}  // namespace

TEST_CASE("one rotary axis equals the reference in every precision", "[parity][device]") {
  for_each_golden("vjepa2/rope_axis", [](Golden& golden) {
    for (const auto& config : golden.config().at("cases")) {
      const std::string name = config.at("name");
      const auto x = golden.input(config.at("x").get<std::string>());
      const auto positions = golden.input(config.at("pos").get<std::string>());
      const auto check = [&](const std::string& section, at::ScalarType type) {
        const auto table = nn::rope_table({positions}, x.size(-1), nn::RopeConvention::tiled,
                                          at::TensorOptions().dtype(type).device(test_device()));
        golden.compare(section + name, nn::rotate(x.to(type), table));
      };
      if (config.value("bf16", false)) {
        check("outputs/", at::kBFloat16);
        continue;
      }
      for (const auto type : kTypes) check(section_of(type), type);
    }
    check_complete(golden);
  });
}

TEST_CASE("rotary attention equals the reference, with token ids and with condition tokens",
          "[parity][device]") {
  for_each_golden("vjepa2/rope_attention", [](Golden& golden) {
    for (const auto& config : golden.config().at("cases")) {
      const std::string name = config.at("name");
      INFO("case " << name);
      const int64_t heads = config.at("heads"), head_width = config.at("head_dim");
      const nn::TokenGrid grid{config.at("T"), config.at("H"), config.at("W")};
      nn::VideoBlock block({.width = heads * head_width, .heads = heads, .mlp_width = 4});
      auto state = nn::state_dict(block);
      {
        at::NoGradGuard no_grad;
        for (auto& [key, tensor] : state)
          if (key.starts_with("attn."))
            tensor.copy_(golden.param(name + "." + key.substr(std::string("attn.").size())));
      }
      for (const auto type : kNetworkTypes) {
        block.to(test_device(), type);
        const auto options = at::TensorOptions().dtype(type).device(test_device());
        const auto x = golden.input(config.at("x").get<std::string>()).to(type);
        nn::RopeTable rope;
        nn::Attention attention;
        if (config.at("ac").get<bool>()) {
          const double side = config.at("grid_size");
          rope = nn::frame_rope(0, grid.frames, grid, config.at("action_tokens"), head_width,
                                side / static_cast<double>(grid.rows),
                                side / static_cast<double>(grid.columns), nn::RopeConvention::tiled,
                                options);
          attention.mask = golden.input(config.at("attn_mask").get<std::string>());
        } else {
          const auto ids = config.contains("ids")
                               ? golden.input(config.at("ids").get<std::string>())
                               : at::arange(grid.count(), at::TensorOptions(test_device()));
          rope = nn::grid_rope(ids, grid, head_width, nn::RopeConvention::tiled, options);
        }
        attention.rope = &rope;
        const auto qkv = block.query_key_value(x);
        const auto compare = [&](const char* key, const Tensor& actual) {
          golden.compare_run(name + key, actual, kRoundingsOfBlock);
        };
        compare(".q_plain", qkv[0]);
        compare(".k_plain", qkv[1]);
        compare(".v", qkv[2]);
        compare(".q_rotated", nn::rotate(qkv[0], rope));
        compare(".k_rotated", nn::rotate(qkv[1], rope));
        compare(".y", block.attend(x, attention));
      }
    }
    check_complete(golden);
  });
}

TEST_CASE("the video encoder equals the reference for every size, mask and position kind",
          "[parity][device]") {
  for_each_golden("vjepa2/encoder", [](Golden& golden) {
    const auto& config = golden.config();
    const auto options = golden_video_vit_options(config.at("model"), golden_norm_epsilon(config));
    nn::VideoVit vit(options);
    if (golden.has("outputs/fresh_sincos_pos_embed")) {
      for (const auto& [key, tensor] : nn::state_dict(vit))
        if (key == "pos_embed") {
          golden.compare("outputs/fresh_sincos_pos_embed", tensor);
          golden.compare_within("outputs64/fresh_sincos_pos_embed", tensor.to(at::kDouble),
                                {1e-7, 0, 0}, "a table of weights, and as such of float32");
        }
    }
    nn::load_state_dict(vit, golden_section(golden, "params"), golden.name());
    at::NoGradGuard no_grad;
    for (const auto type : kNetworkTypes) {
      vit.to(test_device(), type);
      for (const auto& run : config.at("runs")) {
        const auto name = run.at("name").get<std::string>();
        const auto compare = [&](const std::string& key, const Tensor& actual, int64_t blocks) {
          golden.compare_run(name + key, actual, roundings_of_network(blocks));
        };
        const auto clips = golden.input(run.at("clip").get<std::string>()).to(type);
        Tensor ids;
        if (run.contains("masks")) {
          std::vector<Tensor> masks;
          for (const std::string mask : run.at("masks")) masks.push_back(golden.input(mask));
          ids = at::cat(masks);
        }
        if (config.at("model").contains("out_layers")) {
          const auto layers = config.at("model").at("out_layers").get<std::vector<int64_t>>();
          const auto outputs = vit.layers(clips, layers);
          for (std::size_t i = 0; i < outputs.size(); ++i)
            compare(".layer" + std::to_string(i), outputs[i], layers[i] + 1);
          continue;
        }
        compare("", vit.forward(clips, ids), options.depth);
        if (!run.value("trace", false)) continue;
        compare(".patch_embed", vit.embed(clips), 0);
        const auto states = vit.hidden_states(clips);
        for (std::size_t i = 1; i < states.size(); ++i)
          compare(".block" + std::to_string(i - 1), states[i], static_cast<int64_t>(i));
      }
    }
    check_complete(golden);
  });
}

TEST_CASE("the masked predictor equals the reference", "[parity][device]") {
  for_each_golden("vjepa2/predictor", [](Golden& golden) {
    const auto& model = golden.config().at("model");
    nn::MaskedVideoPredictor predictor(
        golden_masked_predictor_options(model, golden_norm_epsilon(golden.config())),
        model.at("embed_dim"), golden_grid(model));
    nn::load_state_dict(predictor, golden_section(golden, "params"), golden.name());
    at::NoGradGuard no_grad;
    for (const auto type : kNetworkTypes) {
      predictor.to(test_device(), type);
      for (const auto& run : golden.config().at("runs")) {
        const auto input = [&](const char* key) {
          return golden.input(run.at(key).get<std::string>());
        };
        const auto x = input("x").to(type);
        const int64_t mask = run.at("mask_index");
        golden.compare_run(run.at("name"),
                           model.value("return_all_tokens", false)
                               ? predictor.all_tokens(x, input("ctx"), input("tgt"), mask)
                               : predictor.forward(x, input("ctx"), input("tgt"), mask),
                           roundings_of_network(model.at("depth")));
      }
    }
    check_complete(golden);
  });
}

TEST_CASE("the action-conditioned predictor equals the reference for every number of frames",
          "[parity][device]") {
  for_each_golden("vjepa2/ac_predictor", [](Golden& golden) {
    const auto& model = golden.config().at("model");
    const auto options =
        golden_frame_predictor_options(model, golden_norm_epsilon(golden.config()));
    const auto grid = golden_grid(model);
    nn::FrameCausalPredictor predictor(options, model.at("embed_dim"), grid);
    nn::load_state_dict(predictor, golden_section(golden, "params"), golden.name());
    const auto per_frame = grid.per_frame() + options.condition_tokens();
    golden.compare("outputs/attention_mask",
                   nn::frame_causal_mask(grid.frames, 0, per_frame, at::TensorOptions()));
    at::NoGradGuard no_grad;
    for (const auto type : kNetworkTypes) {
      predictor.to(test_device(), type);
      for (const auto& run : golden.config().at("runs")) {
        const auto input = [&](const char* key) {
          return run.contains(key) ? golden.input(run.at(key).get<std::string>()).to(type)
                                   : Tensor();
        };
        const auto x = input("x");
        const nn::FrameSequence frames{x.unflatten(1, {-1, grid.per_frame()}), input("actions"),
                                       input("states"), input("extrinsics")};
        const std::string key = run.at("name");
        golden.compare_run(key, predictor.forward(frames).flatten(1, 2),
                           roundings_of_network(options.depth));
        if (!run.value("trace", false)) continue;
        const auto trace = predictor.hidden_states(frames);
        for (std::size_t i = 1; i < trace.size(); ++i)
          golden.compare_run(key + ".block" + std::to_string(i - 1), trace[i],
                             roundings_of_network(static_cast<int64_t>(i)));
      }
    }
    check_complete(golden);
  });
}

}  // namespace foresight::vjepa2_parity_test
