// SPDX-License-Identifier: Apache-2.0
// Small networks of V-JEPA 2 and the commands that import their checkpoints.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "foresight/io/bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight {

// Pictures of 32 pixels, four patches.
inline nn::VideoVitOptions small_encoder() {
  nn::VideoVitOptions options;
  options.width = 48;
  options.depth = 1;
  options.heads = 2;
  options.mlp_width = 64;
  options.frames = 8;
  options.image_height = options.image_width = 32;
  return options;
}

// Of a model's network: its encoder and its predictor.
template <class Options>
Options small_network() {
  Options options;
  options.encoder = small_encoder();
  options.image.size = 32;
  options.predictor.width = 48;
  options.predictor.depth = 1;
  options.predictor.heads = 2;
  options.predictor.mlp_width = 64;
  return options;
}

inline std::shared_ptr<models::VJepa2Ac> small_arm() {
  return std::make_shared<models::VJepa2Ac>(small_network<models::VJepa2AcOptions>(), 3);
}

inline std::shared_ptr<models::VJepa2> small_clips(nn::PositionKind positions) {
  auto options = small_network<models::VJepa2Options>();
  options.encoder.positions = options.predictor.positions = positions;
  return std::make_shared<models::VJepa2>(options, 3);
}

// The files of one test, and commands on them.
class VJepa2Import {
 public:
  explicit VJepa2Import(std::string family) : family_(std::move(family)) {}

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const io::NamedTensors& tensors, const std::string& name = "own.safetensors") const {
    io::write_safetensors(folder_ / name, tensors);
  }
  CommandResult run(const std::string& flags, const std::string& file = "own.safetensors") const {
    return foresight_command("import " + family_ + " " + path(file) + " --out " + path("bundle") +
                             " --encoder_heads 2 --predictor_heads 2" + flags);
  }
  io::Bundle done(const std::string& flags, const std::string& file = "own.safetensors") const {
    const auto result = run(flags, file);
    INFO(result.output);
    REQUIRE(result.code == 0);
    return io::read_bundle(path("bundle"));
  }
  void refused(const std::string& flags, int code, const std::string& words) const {
    const auto result = run(flags);
    CHECK(result.code == code);
    CHECK_THAT(result.output, Catch::Contains(words));
    CHECK_FALSE(std::filesystem::exists(path("bundle")));
  }

 private:
  std::string family_;
  TemporaryFolder folder_;
};

// Under the names of a training: "encoder.module.backbone.norm.weight".
inline io::NamedTensors wrapped(const io::NamedTensors& tensors) {
  io::NamedTensors result;
  for (const auto& [name, tensor] : tensors) {
    const auto dot = name.find('.');
    result.emplace_back(name.substr(0, dot) + ".module.backbone" + name.substr(dot), tensor);
  }
  return result;
}

}  // namespace foresight
