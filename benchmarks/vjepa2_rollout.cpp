// SPDX-License-Identifier: Apache-2.0
// Question: how long does V-JEPA 2-AC take to imagine, and what do shared and kept keys save? The
// published predictor (305 million parameters, random weights) imagines a few candidates from
// latents that are given. In turns, on one device and as many threads each: our rollout; the plain
// one, which computes the whole sequence of every candidate at every step; and upstream's
// procedure, restated in Python (peer_vjepa2.py says how), from the same weights, actions and
// poses.
//   benchmark_vjepa2_rollout [--device cpu|cuda] [<python>] [<threads>] [<rounds>] [<candidates>]
//                            [<steps>] [<history>] [<width>] [<depth>] [<grid>]
// "-" leaves the peer out, and so does a history of more than one frame. Prints one JSON object.
#include <ATen/Parallel.h>

#include "../tests/temporary_folder.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/models/vjepa2_ac.hpp"
#include "foresight/nn/state_dict.hpp"
#include "measurement.hpp"
#include "peer.hpp"

namespace {

using namespace foresight;
using namespace foresight::benchmark;

struct Settings {
  at::Device device = at::kCPU;
  int threads = 1, rounds = 3;
  int64_t samples = 4, horizon = 2, history = 1;
  int64_t width = 1024, depth = 24, grid = 16;
};
constexpr int64_t kHeadWidth = 64;

models::VJepa2AcOptions sized(const Settings& settings) {
  models::VJepa2AcOptions options;
  options.encoder = nn::VideoVitOptions::tiny();  // it takes no part in a rollout
  options.encoder.width = settings.width * 11 / 8 / 8 * 8;
  options.encoder.heads = 8;
  options.encoder.depth = 1;
  options.encoder.image_height = options.encoder.image_width = options.image.size =
      settings.grid * options.encoder.patch;
  options.predictor.width = settings.width;
  options.predictor.depth = settings.depth;
  options.predictor.heads = settings.width / kHeadWidth;
  options.predictor.mlp_width = 4 * settings.width;
  options.history = settings.history;
  options.window = settings.history + settings.horizon;
  return options;
}

// What has been observed, and what is to be imagined.
struct Scene {
  State state;
  Tensor actions;  // [1,S,H,7]
};

Scene random_scene(const models::VJepa2Ac& model, const Settings& settings) {
  PhiloxNoise noise(2);
  const auto drawn = [&](at::IntArrayRef shape) { return noise.normal(shape).to(settings.device); };
  const auto& spec = model.spec();
  auto state = model.initial(1);
  for (int64_t t = 0; t < settings.history; ++t)
    state = model.observe_latent(state, t == 0 ? Tensor() : drawn({1, 7}) * 0.05,
                                 nn::normalise_tokens(drawn({1, spec.tokens, spec.channels})),
                                 drawn({1, 7}) * 0.1);
  return {state, drawn({1, settings.samples, settings.horizon, 7}) * 0.05};
}

// The poses before each action [S,H,7].
Tensor poses_before(const Scene& scene, const Tensor& reached) {
  const auto samples = scene.actions.size(1), horizon = scene.actions.size(2);
  const auto first = scene.state.at("pose").unsqueeze(1).expand({1, samples, 7}).unsqueeze(2);
  return at::cat({first, reached}, 2).narrow(2, 0, horizon)[0].contiguous();
}

nlohmann::json measure(Peer* peer, const Settings& settings) {
  at::NoGradGuard no_grad;
  models::VJepa2Ac model(sized(settings), 1);
  model.to(settings.device);
  const auto scene = random_scene(model, settings);
  PhiloxNoise noise(3);
  const TemporaryFolder folder;
  const auto result = folder / "result.safetensors";
  if (peer) {
    const auto weights = folder / "weights.safetensors", inputs = folder / "inputs.safetensors";
    io::write_safetensors(weights, nn::state_dict(model.predictor()));
    const auto reached = model.rollout(scene.state, scene.actions, noise).states.at("pose");
    io::write_safetensors(inputs, {{"latent", scene.state.at("latent").contiguous()},
                                   {"actions", scene.actions[0].contiguous()},
                                   {"poses", poses_before(scene, reached)}});
    peer->ask({{"do", "load_predictor"},
               {"weights", weights.string()},
               {"inputs", inputs.string()},
               {"heads", settings.width / kHeadWidth},
               {"device", settings.device.str()},
               {"threads", settings.threads}});
  }
  Tensor kept, plain;
  std::vector<std::function<double()>> works{
      [&] {
        return milliseconds(
            [&] { kept = model.rollout(scene.state, scene.actions, noise).states.at("latent"); },
            settings.device);
      },
      [&] {
        return milliseconds(
            [&] {
              plain = model.looped_rollout(scene.state, scene.actions, noise).states.at("latent");
            },
            settings.device);
      }};
  if (peer)
    works.emplace_back([&]() -> double {
      return peer->ask({{"do", "imagine"}, {"result", result.string()}}).at("ms");
    });
  const auto times = in_turns(works, settings.rounds, /*warm_up=*/1);
  nlohmann::json report{{"kept_keys", summary(times[0])},
                        {"plain", summary(times[1])},
                        {"times_faster_than_plain", median(times[1]) / median(times[0])},
                        {"largest_difference_to_plain", (kept - plain).abs().max().item<double>()}};
  if (!peer) return report;
  const auto theirs = io::SafeTensors::open(result).at("tokens");  // [S,H,P,D]
  report["upstream_procedure"] = summary(times[2]);
  report["times_faster_than_upstream_procedure"] = median(times[2]) / median(times[0]);
  report["largest_difference_to_upstream_procedure"] =
      (kept[0].cpu() - theirs).abs().max().item<double>();
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  return report_beside_peer("vjepa2_rollout", argc, argv, [](const PeerArguments& arguments) {
    const Settings settings{
        arguments.device(),        arguments.number(2, 1),  arguments.number(3, 3),
        arguments.number(4, 4),    arguments.number(5, 2),  arguments.number(6, 1),
        arguments.number(7, 1024), arguments.number(8, 24), arguments.number(9, 16)};
    at::set_num_threads(settings.threads);
    const auto peer = settings.history == 1 ? arguments.start("peer_vjepa2.py") : nullptr;
    nlohmann::json report{{"threads", settings.threads},
                          {"candidates", settings.samples},
                          {"steps", settings.horizon},
                          {"history", settings.history},
                          {"width", settings.width},
                          {"depth", settings.depth},
                          {"tokens", settings.grid * settings.grid}};
    if (peer) report["peer"] = peer->about;
    report.update(measure(peer.get(), settings));
    return report;
  });
}
