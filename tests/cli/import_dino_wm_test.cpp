// SPDX-License-Identifier: Apache-2.0
// foresight import dino_wm: what its files do not tell.
#include <filesystem>
#include <map>

#include "foresight/control/agent.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "io/raw_file.hpp"
#include "models/dino_wm_under_test.hpp"
#include "recordings_folder.hpp"
#include "run_command.hpp"
#include "same_tensors.hpp"
#include "temporary_folder.hpp"
#include "torch_groups.hpp"

namespace foresight::import_dino_wm_test {

namespace fs = std::filesystem;

namespace {

// A DINO-WM's files, beside a config with all of its options but those that a test leaves out.
class Files {
 public:
  explicit Files(models::DinoWmOptions options) : options_(std::move(options)) {
    options_.action.mean.assign(2, 0.25);
    options_.action.std.assign(2, 2.0);
    model = dino_wm_under_test(options_);
    config = write_options(options_);
    own = models::dino_wm_tensors(*model);
  }

  std::string path(const char* name) const { return (folder_ / name).string(); }
  CommandResult run(const std::string& flags = "") const {
    io::write_safetensors(folder_ / "own.safetensors", own);
    io::write_safetensors(folder_ / "backbone.safetensors", nn::state_dict(model->encoder()));
    io::write_json(folder_ / "options.json", config);
    return foresight_command("import dino_wm " + path("own.safetensors") + " --backbone " +
                             path("backbone.safetensors") + " --config " + path("options.json") +
                             " --out " + path("bundle") + flags);
  }
  models::DinoWmOptions done(const std::string& flags = "") const {
    const auto result = run(flags);
    INFO(result.output);
    REQUIRE(result.code == 0);
    return models::read_dino_wm(io::read_bundle(path("bundle")))->options();
  }
  void refused(const std::string& flags, int code, const std::string& words) const {
    const auto result = run(flags);
    CHECK(result.code == code);
    CHECK_THAT(result.output, Catch::Contains(words));
    CHECK_FALSE(fs::exists(path("bundle")));
  }

  std::shared_ptr<models::DinoWm> model;
  nlohmann::json config;
  io::NamedTensors own;

 private:
  models::DinoWmOptions options_;
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("an imported DINO-WM plans as published, within a memory that it has") {
  const Files files(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0));
  files.done();
  const auto agent = Agent::load(files.path("bundle"));
  const auto shared = Agent::load(files.path("bundle"), io::Placement::share);
  const auto seen = dino_wm_observation(1, 1, 0);
  PhiloxNoise noise(1);
  CHECK(at::equal(shared.model().encode(seen, noise), agent.model().encode(seen, noise)));
  const auto& options = agent.options;
  CHECK(options.sampling.samples == 300);
  CHECK(options.sampling.iterations == 30);
  CHECK(options.objective.distance.distance == Distance::l2);
  CHECK(options.objective.distance.reduction == Reduction::mean);
  CHECK(options.control.horizon == 5);
  CHECK(options.control.replan_steps == 0);
  CHECK(options.control.candidate_bytes > 0);
  CHECK(agent.objective().names() == std::vector<std::string>{"goal_distance"});
  const auto picture = (test::recordings() / "tworoom" / "folder" / "episode_0001.mp4:0").string();
  const auto plan =
      foresight_command("plan --bundle " + files.path("bundle") + " --start " + picture +
                        " --goal " + picture + " --sampling.samples 40 --sampling.iterations 2");
  INFO(plan.output);
  CHECK(plan.code == 0);
}

TEST_CASE("an imported DINO-WM with proprioception weighs it as published, unless told not to") {
  const Files files(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 3));
  files.done();
  const auto agent = Agent::load(files.path("bundle"));
  CHECK(agent.options.objective.proprio_distance == 1);
  CHECK(agent.objective().names() == std::vector<std::string>{"goal_distance", "proprio_distance"});
  const auto picture = (test::recordings() / "tworoom" / "folder" / "episode_0001.mp4:0").string();
  const auto plan = [&](const std::string& flags) {
    return foresight_command("plan --bundle " + files.path("bundle") + " --start " + picture +
                             " --goal " + picture +
                             " --sampling.samples 40 --sampling.iterations 2"
                             " --start-values proprio=0.1,0.2,0.3" +
                             flags);
  };
  const auto blind = plan("");
  CHECK(blind.code == 2);
  CHECK_THAT(blind.output, Catch::Contains("--goal-values proprio=") &&
                               Catch::Contains("--objective.proprio_distance 0"));
  const auto both = plan(" --goal-values proprio=0.3,0.2,0.1");
  CHECK_THAT(both.output, Catch::Contains("\"proprio_distance\""));
  CHECK(both.code == 0);
  const auto alone = plan(" --objective.proprio_distance 0");
  CHECK_THAT(alone.output, !Catch::Contains("\"proprio_distance\""));
  CHECK(alone.code == 0);
}

TEST_CASE("the heads of a DINO-WM's predictor come from a file or a flag, never from a preset") {
  Files files(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0));
  files.config["predictor"].erase("heads");
  files.config["predictor"].erase("head_width");
  files.refused("", 2, "--predictor.heads");
  files.refused(" --predictor.heads 3", 2, "attention width 8 is not that of 3 heads");
  CHECK(files.done(" --predictor.heads 4").predictor.head_width == 2);
  CHECK(files.done(" --predictor.head_width 2").predictor.heads == 4);

  io::write_json(files.path("config.json"),
                 {{"predictor", {{"heads", 2}, {"dim_head", 4}, {"dropout", 0.3}}}});
  files.config["predictor"].erase("dropout");
  const auto told = files.done().predictor;
  CHECK(told.heads == 2);
  CHECK(told.head_width == 4);
  CHECK(told.dropout == 0.3);
  fs::remove_all(files.path("bundle"));
  io::write_json(files.path("config.json"), {{"predictor", {{"heads", 2}, {"dim_head", 8}}}});
  files.refused("", 2, "is not that of 2 heads of 8");
}

TEST_CASE("a DINO-WM of more than its files hold is refused before that is made") {
  const Files files(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0));
  constexpr int64_t kHuge = 1'000'000'000'000, kMost = 9'000'000'000'000'000'000;
  const auto flag = [&](const std::string& name, int64_t value, const std::string& words) {
    INFO(name << " " << value);
    files.refused(" --" + name + " " + std::to_string(value), 1, words);
  };
  const std::string mlp = "1.net.1.weight' has shape [10, ";
  for (const auto value : {kHuge, kMost}) {
    flag("predictor.mlp_width", value, mlp);
    flag("history", value, "'predictor.pos_embedding' has shape [1, 8, ");
  }
  flag("predictor.depth", 300'000, "predictor.depth = 300000");
  flag("action_width", kHuge, "'action_encoder.patch_embed.weight' has shape [3, 4, 1]");
  flag("encoder.mlp_width", kHuge, "backbone.safetensors: ");
  flag("encoder.depth", 300'000, "encoder.depth = 300000");
  flag("encoder_image_size", 8'000'000'000, "'embeddings.position_embeddings' has shape");
  // A size that is near is told with all that does not fit.
  flag("predictor.mlp_width", 12, "tensors do not fit the model");
}

TEST_CASE("a config.json that a DINO-WM's weights contradict is named") {
  Files files(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0));
  files.config["predictor"].erase("heads");
  files.config["predictor"].erase("head_width");
  files.config["predictor"].erase("depth");
  files.config["predictor"].erase("mlp_width");
  files.config.erase("history");
  const auto told = [&](const std::string& key, int64_t value) {
    nlohmann::json predictor{
        {"num_frames", 2}, {"depth", 2}, {"heads", 2}, {"dim_head", 4}, {"mlp_dim", 10}};
    predictor[key] = value;
    io::write_json(files.path("config.json"), {{"predictor", predictor}});
  };
  const auto refused = [&](const std::string& key, int64_t value, const std::string& words) {
    INFO(key << " " << value);
    told(key, value);
    files.refused("", 1,
                  "config.json: predictor." + key + " = " + std::to_string(value) +
                      " disagrees with the weights: 'predictor." + words);
  };
  refused("depth", 3, "transformer.layers.*' are those of 2 layers");
  refused("depth", 300'000, "transformer.layers.*' are those of 2 layers");
  for (const int64_t value : {int64_t{12}, int64_t{9'000'000'000'000'000'000}}) {
    refused("mlp_dim", value, "transformer.layers.0.1.net.1.weight' has shape [10, 12]");
    refused("num_frames", value,
            "pos_embedding' has shape [1, 8, 12], which is 2 frames of 4 tokens");
  }
  told("heads", 3);
  files.refused("", 2, "config.json says");
  // What a flag overrules is not the file's.
  told("depth", 3);
  CHECK(files.done(" --predictor.depth 2").predictor.mlp_width == 10);
}

TEST_CASE("of several backbones in one file one is chosen, of a flat one too") {
  const Files files(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0));
  files.done();
  const bool is_flat = GENERATE(false, true);
  std::map<std::string, io::NamedTensors> groups;
  for (const auto& [name, tensor] : nn::dinov2_tensors(files.model->encoder())) {
    groups["teacher"].emplace_back("backbone." + name, tensor + 1);
    groups["student"].emplace_back("backbone." + name, tensor);
  }
  io::NamedTensors flat;
  for (const auto& [group, tensors] : groups)
    for (const auto& [name, tensor] : tensors) flat.emplace_back(group + "." + name, tensor);
  write_bytes(files.path("both.pth"), is_flat ? torch_state_dict(flat) : torch_groups(groups));
  const auto import = [&](const std::string& flags) {
    fs::remove_all(files.path("bundle"));
    return foresight_command("import dino_wm " + files.path("own.safetensors") + " --backbone " +
                             files.path("both.pth") + " --config " + files.path("options.json") +
                             " --out " + files.path("bundle") + flags);
  };
  const auto asked = import("");
  CHECK(asked.code == 2);
  CHECK_THAT(asked.output, Catch::Contains("student, teacher (--backbone_group)"));
  const auto chosen = import(" --backbone_group teacher");
  INFO(chosen.output);
  REQUIRE(chosen.code == 0);
  const auto bundle = io::read_bundle(files.path("bundle"));
  CHECK(bundle.config.provenance.at("backbone_group") == "teacher");
  const auto read = models::read_dino_wm(bundle);
  check_same(nn::state_dict(read->encoder()), [&] {
    auto expected = nn::state_dict(files.model->encoder());
    for (auto& [name, tensor] : expected) tensor = tensor + 1;
    return expected;
  }());
}

TEST_CASE("recordings give a DINO-WM the statistics of its actions and of its proprioception") {
  Files files(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 2));
  for (const auto* name : {"mean", "std"}) {
    files.config["action"].erase(name);
    files.config["proprio"].erase(name);
  }
  const auto recordings = (test::recordings() / "tworoom" / "folder").string();
  files.refused("", 2, "--action.mean");
  files.refused(" --action.mean 0,0 --action.std 1,1", 2, "--proprio.mean");
  const auto dataset = data::open_dataset(recordings);
  const auto& columns = dataset->state_columns();
  REQUIRE(columns.size() >= 2);
  const std::vector<std::string> chosen{columns[1], columns[0]};
  const auto read =
      files.done(" --data " + recordings + " --states " + chosen[0] + "," + chosen[1]);
  const auto expected = data::column_statistics(*dataset, chosen, data::LastRow::include);
  CHECK(read.proprio.mean == expected.mean);
  CHECK(read.proprio.std == expected.std);
  CHECK(read.action.mean == data::action_space(*dataset, 2).mean);
  fs::remove_all(files.path("bundle"));
  files.refused(" --data " + recordings + " --states " + chosen[0], 2, "1 state columns");
  files.refused(" --data " + recordings + " --reading.states " + chosen[0], 2, "1 state columns");
  files.refused(" --data " + recordings + " --reading.split train", 2, "--reading.split");
  files.refused(" --action.mean 0,0 --action.std 1,1 --reading.fps 5", 2, "how --data is read");
}

TEST_CASE("a DINO-WM whose parts are groups of one file is one model") {
  const Files files(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 2));
  io::write_json(files.path("options.json"), files.config);
  std::map<std::string, io::NamedTensors> groups;
  for (const auto& [name, tensor] : files.own) {
    const auto dot = name.find('.');
    const auto part = name.substr(0, dot);
    const std::string wrapper = part == "predictor" ? "module." : "";
    groups[part].emplace_back(wrapper + name.substr(dot + 1), tensor);
  }
  REQUIRE(groups.size() == 3);
  for (const auto& [name, tensor] : nn::state_dict(files.model->encoder()))
    groups["encoder"].emplace_back("base_model." + name, tensor);
  groups["predictor_optimizer"].emplace_back("exp_avg", at::zeros({3}));
  const auto file = files.path("model_latest.pt");
  write_bytes(file, torch_groups(groups));
  const auto imported =
      foresight_command("import dino_wm " + file + " --backbone " + file + " --config " +
                        files.path("options.json") + " --out " + files.path("bundle"));
  INFO(imported.output);
  REQUIRE(imported.code == 0);
  CHECK_THAT(imported.output, Catch::Contains("left out: 1 tensors of other groups"));
  check_same(nn::state_dict(*models::read_dino_wm(io::read_bundle(files.path("bundle")))),
             nn::state_dict(*files.model));
}

TEST_CASE("what an import of a DINO-WM leaves out is named, and its masks are compared") {
  auto options = tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0);
  options.action_repeat = 1;
  Files files(options);
  files.own = models::dino_wm_tensors(*files.model, models::DinoWmLayout::prejepa);
  for (const auto* other : {"decoder.dec.0.weight", "decoder.dec.0.bias", "encoder.cls_token"})
    files.own.emplace_back(other, at::zeros({2}));
  const auto imported = files.run();
  CHECK(imported.code == 0);
  CHECK_THAT(imported.output, Catch::Contains("left out: 2 tensors of 'decoder.'") &&
                                  Catch::Contains("left out: 1 tensors of 'encoder.'"));
  fs::remove_all(files.path("bundle"));
  const std::string mask = "predictor.transformer.layers.1.0.bias";
  for (auto& [name, tensor] : files.own)
    if (name == mask) tensor = at::ones_like(tensor);
  files.refused("", 1, "'" + mask + "', a mask of shape [1, 1, 8, 8]");
}

namespace {

// All that is kept in the layout of PreJEPA, which has no repeated embeddings.
models::DinoWmOptions plain_options() {
  auto options = tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 2);
  options.action_repeat = options.proprio.repeat = 1;
  return options;
}

// The file that an export writes, and what it prints.
std::pair<io::NamedTensors, std::string> exported(const Files& files, const std::string& flags) {
  const auto result = foresight_command("export " + files.path("bundle") + flags + " --out " +
                                        files.path("back.safetensors"));
  INFO(result.output);
  REQUIRE(result.code == 0);
  return {io::SafeTensors::open(files.path("back.safetensors")).tensors(), result.output};
}

}  // namespace

TEST_CASE("a DINO-WM of several types goes back bit by bit, in its own layout") {
  using enum models::DinoWmLayout;
  for (const auto& [layout, other] : {std::pair{dino_wm, prejepa}, std::pair{prejepa, dino_wm}})
    for (const auto type : {at::kBFloat16, at::kHalf, at::kDouble}) {
      INFO(enum_name(layout) << ", " << c10::toString(type));
      Files files(plain_options());
      files.own = mixed_types(models::dino_wm_tensors(*files.model, layout), type);
      files.done();
      for (const std::string flags : {"", " --layout "})
        check_same(
            exported(files, flags.empty() ? flags : flags + std::string(enum_name(layout))).first,
            files.own);
      CHECK_THAT(exported(files, " --layout " + std::string(enum_name(other))).second,
                 Catch::Contains("types: float32"));
    }
}

TEST_CASE("what an import of a DINO-WM leaves out does not make it one of several types") {
  Files files(plain_options());
  for (auto& [name, tensor] : files.own) tensor = tensor.to(at::kBFloat16);
  const auto kept = files.own;
  for (const auto* other : {"decoder.dec.0.weight", "encoder.cls_token"})
    files.own.emplace_back(other, at::zeros({2}));
  files.done();
  const auto imported = io::read_bundle(files.path("bundle")).config.provenance["imported"];
  CHECK(imported.value("stored_type", "") == "bfloat16");
  CHECK_FALSE(imported.contains("stored_types"));
  check_same(exported(files, "").first, kept);
  const auto [tensors, printed] = exported(files, " --layout prejepa");
  CHECK_THAT(printed, !Catch::Contains("types:"));
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(tensor.scalar_type() == at::kBFloat16);
  }
}

}  // namespace foresight::import_dino_wm_test
