// SPDX-License-Identifier: Apache-2.0
// The attentive probe: what it reads, where it comes from (transformers, V-JEPA 2's own files), how
// a bundle keeps it and under which names it leaves.
#include "foresight/models/attentive_probe.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"
#include "temporary_folder.hpp"
#include "vjepa2_golden_nn.hpp"

namespace foresight::models::attentive_probe_test {
namespace {

VJepa2Options small_network() {
  auto options = VJepa2Options::tiny();
  options.encoder.rope = options.predictor.rope = nn::RopeConvention::tiled;
  options.encoder.depth = options.predictor.depth = 1;
  return options;
}

AttentiveProbeOptions three_classes() {
  AttentiveProbeOptions options;
  options.outputs = 3;
  options.names = {"up", "down", "still"};
  options.pooler.self_attention = 2;
  options.pooler.heads = 4;
  return options;
}

void check_same_tensors(const io::NamedTensors& found, const io::NamedTensors& expected) {
  const std::map<std::string, Tensor> by_name(found.begin(), found.end());
  REQUIRE(by_name.size() == expected.size());
  for (const auto& [name, tensor] : expected) {
    INFO(name);
    REQUIRE(by_name.contains(name));
    CHECK(by_name.at(name).scalar_type() == tensor.scalar_type());
    CHECK(at::equal(by_name.at(name), tensor));
  }
}

// A file of V-JEPA 2's own evaluation code: a probe for every rate that was tried.
io::NamedTensors file_of_probes(const std::vector<const AttentiveProbe*>& probes) {
  io::NamedTensors file;
  for (std::size_t i = 0; i < probes.size(); ++i)
    for (const auto& [name, tensor] : nn::state_dict(*probes[i]))
      file.emplace_back("classifiers." + std::to_string(i) + ".module." + name, tensor);
  file.emplace_back("opt.0.state.0.exp_avg", at::zeros({3}));
  return file;
}

// The fixture of a classifier as the folder that a user has.
io::HfFolder classifier_folder(const Golden& golden, const std::filesystem::path& path,
                               const std::function<void(nlohmann::json&)>& change = {}) {
  nlohmann::json config = golden.config().at("hf_config");
  if (change) change(config);
  io::write_json(path / io::kHfConfigFile, config);
  io::write_safetensors(path / io::kHfTensorsFile, golden_section(golden, "params"));
  return io::read_hf_folder(path);
}

}  // namespace

TEST_CASE("a probe's outputs can be brought to other units and back") {
  auto options = three_classes();
  options.reading = ProbeReading::values;
  AttentiveProbe probe(24, options, 1);
  probe.to(at::kDouble);
  c10::NoGradGuard no_grad;
  PhiloxNoise noise(2);
  const auto tokens = noise.normal({5, 7, 24}, at::kDouble);
  const auto before = probe.forward(tokens);
  probe.transform_outputs({2, -3, 0.5}, {10, 0, -1});
  const auto scale = at::tensor({2.0, -3.0, 0.5}, at::kDouble);
  const auto offset = at::tensor({10.0, 0.0, -1.0}, at::kDouble);
  CHECK(at::allclose(probe.forward(tokens), before * scale + offset, 1e-12, 1e-12));
  CHECK(at::equal(probe.predict(tokens), probe.forward(tokens)));
  probe.transform_outputs({0.5, -1.0 / 3, 2}, {-5, 0, 2});
  CHECK(at::allclose(probe.forward(tokens), before, 1e-10, 1e-12));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { probe.transform_outputs({1}, {0}); }, "1 scales",
      "3 outputs"));
}

TEST_CASE("a probe of classes predicts their probabilities") {
  const AttentiveProbe probe(24, three_classes(), 1);
  c10::NoGradGuard no_grad;
  PhiloxNoise noise(2);
  const auto tokens = noise.normal({5, 7, 24});
  const auto exponentials = probe.forward(tokens).exp();
  CHECK(at::allclose(probe.predict(tokens), exponentials / exponentials.sum(1, true), 1e-5, 1e-6));
  CHECK(three_classes().name_of(1) == "down");
  CHECK(AttentiveProbeOptions{.outputs = 3}.name_of(1) == "1");
}

TEST_CASE("a pooler's blocks are four times as wide inside unless told otherwise") {
  auto options = three_classes();
  const auto inside = [&] {
    const AttentiveProbe probe(24, options, std::nullopt);
    const auto parameters = probe.named_parameters();
    CHECK(parameters["pooler.blocks.1.mlp.fc1.weight"].size(0) ==
          parameters["pooler.cross_attention_block.mlp.fc1.weight"].size(0));
    return parameters["pooler.blocks.1.mlp.fc1.weight"].size(0);
  };
  CHECK(inside() == 96);
  options.pooler.mlp_width = 10;
  CHECK(inside() == 10);
}

TEST_CASE("probes that make no sense are refused") {
  const auto refused = [](auto change, auto... words) {
    auto options = three_classes();
    change(options);
    return fails_with(
        ErrorCategory::invalid_option, [&] { AttentiveProbe probe(24, options); }, words...);
  };
  CHECK_FALSE(refused([](auto&) {}));
  CHECK(refused([](auto& o) { o.outputs = 0; }, "outputs"));
  CHECK(refused([](auto& o) { o.names.pop_back(); }, "names = 2", "3 outputs"));
  CHECK(refused([](auto& o) { o.pooler.heads = 5; }, "heads = 5", "24"));
  CHECK(refused([](auto& o) { o.pooler.mlp_width = -1; }, "mlp_width"));
}

TEST_CASE("a bundle keeps a probe beside its encoder, bit by bit, and its names") {
  const TemporaryFolder folder;
  VJepa2 network(small_network(), 3);
  AttentiveProbe probe(network.options().encoder.width, three_classes(), 4);
  for (const auto type : {at::kFloat, at::kDouble}) {
    network.to(type);
    probe.to(type);
    write_vjepa2(folder / "bundle", network, vjepa2_bundle_config(network), &probe);
    const auto bundle = io::read_bundle(folder / "bundle");
    const auto read = read_attentive_probe(bundle);
    REQUIRE(read != nullptr);
    CHECK_FALSE(read->is_training());
    CHECK(write_options(read->options()) == write_options(probe.options()));
    check_same_tensors(nn::state_dict(*read), nn::state_dict(probe));
    check_same_tensors(nn::state_dict(*read_vjepa2(bundle)), nn::state_dict(network));
  }
  write_vjepa2(folder / "bundle", network, vjepa2_bundle_config(network));
  CHECK(read_attentive_probe(io::read_bundle(folder / "bundle")) == nullptr);
  const AttentiveProbe other(24, three_classes(), 4);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { write_vjepa2(folder / "no", network, vjepa2_bundle_config(network), &other); },
      "width 24", "width 96"));
  CHECK_FALSE(std::filesystem::exists(folder / "no"));
}

TEST_CASE("a probe comes from a file of V-JEPA 2's own code, the one that is chosen of several") {
  auto options = three_classes();
  options.names.clear();
  const AttentiveProbe first(24, options, 1), second(24, options, 2);
  const auto file = file_of_probes({&first, &second});
  const auto loaded = [&](const io::NamedTensors& tensors, ProbeFileOptions how) {
    how.heads = 4;
    return load_vjepa2_probe(tensors, "probes.pt", how);
  };
  check_same_tensors(nn::state_dict(*loaded(file, {.which = 0})), nn::state_dict(first));
  const auto read = loaded(file, {.which = 1});
  check_same_tensors(nn::state_dict(*read), nn::state_dict(second));
  CHECK(write_options(read->options()) == write_options(options));
  check_same_tensors(nn::state_dict(*loaded(file_of_probes({&second}), {})),
                     nn::state_dict(second));
  io::NamedTensors plain;  // a state dict alone, as DistributedDataParallel names it
  for (const auto& [name, tensor] : nn::state_dict(first))
    plain.emplace_back("module." + name, tensor);
  check_same_tensors(nn::state_dict(*loaded(plain, {})), nn::state_dict(first));

  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { loaded(file, {}); }, "2 probes", "--probe_index"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { loaded(file, {.which = 2}); }, "number 2", "0 to 1"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { loaded(plain, {.which = 3}); }, "number 3"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { load_vjepa2_probe(plain, "probes.pt", {.heads = 16}); },
      "heads = 16", "24"));
  auto less = plain;
  std::erase_if(less, [](const auto& item) { return item.first.ends_with("xattn.kv.bias"); });
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { loaded(less, {}); }, "xattn.kv.bias"));
  auto shallow = options;
  shallow.pooler.self_attention = 0;
  auto wide = nn::state_dict(AttentiveProbe(24, shallow, 1));
  for (auto& [name, tensor] : wide)
    if (name == "pooler.cross_attention_block.mlp.fc1.weight") tensor = at::zeros({1 << 18, 1});
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { loaded(wide, {}); },
      "[262144, 1], expected [262144, 24] as the other tensors have it"));
  auto more = plain;
  more.emplace_back("module.verb_classifier.weight", at::zeros({2, 24}));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { loaded(more, {}); }, "verb_classifier.weight"));
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        loaded({{"encoder.norm.weight", at::zeros({4})}}, {});
      },
      "linear.weight"));
}

TEST_CASE("a classifier's folder is written back bit for bit, with the names of its classes") {
  for_each_golden("hf/hf_vjepa2_classification", [](Golden& golden) {
    const TemporaryFolder temporary;
    std::filesystem::create_directory(temporary / "in");
    const auto given = classifier_folder(golden, temporary / "in");
    const auto network = load_hf_vjepa2(given);
    const auto probe = load_hf_vjepa2_probe(given);
    REQUIRE(probe != nullptr);
    CHECK(probe->options().names ==
          class_names(given.config.at("id2label"), probe->options().outputs, "config.json"));
    write_hf_vjepa2(temporary / "out", *network, probe.get());
    const auto written = io::read_hf_folder(temporary / "out");
    check_same_tensors(written.tensors(), given.tensors());
    for (const auto& [key, value] : written.config.items()) {
      INFO(key);
      CHECK(given.config.at(key) == value);
    }
    // The same through a bundle, as the command goes.
    write_vjepa2(temporary / "bundle", *network, vjepa2_bundle_config(*network), probe.get());
    check_same_tensors(
        export_vjepa2(io::read_bundle(temporary / "bundle"), VJepa2Layout::transformers),
        given.tensors());
  });
}

TEST_CASE("a classifier whose configuration and weights disagree is refused") {
  for_each_golden("hf/hf_vjepa2_classification", [](Golden& golden) {
    const auto refused = [&](ErrorCategory category, auto change, auto... words) {
      const TemporaryFolder temporary;
      const auto folder = classifier_folder(golden, temporary.path(), change);
      return fails_with(
          category, [&] { load_hf_vjepa2_probe(folder); }, words...);
    };
    CHECK(refused(
        ErrorCategory::bad_file, [](auto& c) { c["id2label"].erase("4"); }, "names 4 classes",
        "those of 5"));
    CHECK(refused(
        ErrorCategory::bad_file,
        [](auto& c) {
          c["id2label"].erase("4");
          c["id2label"]["7"] = "seven";
        },
        "no name of class 4"));
    CHECK(refused(
        ErrorCategory::bad_file, [](auto& c) { c["id2label"]["2"] = 2; }, "expected a text"));
    CHECK(refused(
        ErrorCategory::bad_file, [](auto& c) { c["num_pooler_layers"] = 1; },
        "num_pooler_layers = 1, but the tensors are those of 2 layers"));
    CHECK(refused(
        ErrorCategory::bad_file, [](auto& c) { c["num_pooler_layers"] = 1 << 20; },
        "num_pooler_layers = 1048576"));
    CHECK(refused(
        ErrorCategory::unsupported,
        [](auto& c) { c["problem_type"] = "multi_label_classification"; }, "problem_type"));
    const TemporaryFolder temporary;
    const auto regression = load_hf_vjepa2_probe(classifier_folder(
        golden, temporary.path(), [](auto& c) { c["problem_type"] = "regression"; }));
    CHECK(regression->options().reading == ProbeReading::values);
  });
}

TEST_CASE("what does not fit of a classifier's folder is told by the names of its file") {
  for_each_golden("hf/hf_vjepa2_classification", [](Golden& golden) {
    const TemporaryFolder temporary;
    classifier_folder(golden, temporary.path());
    const auto refused = [&](auto change, auto... words) {
      auto tensors = golden_section(golden, "params");
      std::map<std::string, Tensor> by_name(tensors.begin(), tensors.end());
      change(by_name);
      const TemporaryFolder spoiled;
      std::filesystem::copy(temporary / io::kHfConfigFile, spoiled / io::kHfConfigFile);
      io::write_safetensors(spoiled / io::kHfTensorsFile, {by_name.begin(), by_name.end()});
      return fails_with(
          ErrorCategory::bad_file,
          [&] { load_hf_vjepa2_probe(io::read_hf_folder(spoiled.path())); }, words...);
    };
    CHECK(refused(
        [](auto& t) {
          t.erase("pooler.self_attention_layers.1.layer_norm1.bias");
          t.erase("classifier.bias");
          t["pooler.cross_attention_layer.cross_attn.k_proj.bias"] = at::zeros({2});
        },
        "'pooler.self_attention_layers.1.layer_norm1.bias' is missing",
        "'classifier.bias' is missing",
        "'pooler.cross_attention_layer.cross_attn.k_proj.bias' has shape [2]"));
    CHECK(refused(
        [](auto& t) {
          for (auto& [name, tensor] : t)
            if (name.starts_with("pooler.") && tensor.dim() == 2) tensor = at::zeros({1, 1});
        },
        "'pooler.self_attention_layers.0.self_attn.q_proj.weight' has shape [1, 1], expected",
        "'pooler.cross_attention_layer.mlp.fc2.weight' has shape [1, 1], expected"));
    // The network is below a name of its own there.
    CHECK(refused([](auto& t) { t.erase("vjepa2.encoder.layer.0.attention.value.weight"); },
                  "'vjepa2.encoder.layer.0.attention.value.weight' is missing"));
  });
}

TEST_CASE("a probe goes by published names only where that code builds the same") {
  const auto network = small_network();
  const auto refused = [&](VJepa2Layout layout, auto change, auto... words) {
    auto probe = three_classes();
    auto options = network;
    change(probe, options);
    return fails_with(
        ErrorCategory::unsupported, [&] { published_vjepa2(options, {}, probe, {}, layout); },
        words...);
  };
  using enum VJepa2Layout;
  for (const auto layout : {original, transformers}) {
    CHECK_FALSE(refused(layout, [](auto&, auto&) {}));
    CHECK(refused(
        layout, [](auto& p, auto&) { p.pooler.mlp_width = 100; }, "four times"));
    CHECK(refused(
        layout, [](auto&, auto& o) { o.encoder.rope = nn::RopeConvention::interleaved; },
        "rotary"));
  }
  const auto other_heads = [](auto& p, auto&) { p.pooler.heads = 2; };
  CHECK(refused(transformers, other_heads, "heads (2)", "(4)"));
  CHECK_FALSE(refused(original, other_heads));
}

}  // namespace foresight::models::attentive_probe_test
