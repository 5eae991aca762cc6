// SPDX-License-Identifier: Apache-2.0
// Question: how long does V-JEPA 2's encoder take for one clip, and how does it compare with
// transformers? In turns, on one device and as many threads each, float32, from the same random
// weights (through a Hugging Face folder) and clip: ours and transformers' VJEPA2Model with SDPA.
//   benchmark_vjepa2_encoder [--device cpu|cuda] [<python>] [<threads>] [<rounds>] [<frames>]
//                            [<side>] [<depth>]
// <python> runs peer_vjepa2.py beside this file's source; "-" leaves the peer out. The defaults are
// ViT-L on 16 frames of 256 x 256. Prints one JSON object.
#include <ATen/Parallel.h>

#include "../tests/temporary_folder.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "measurement.hpp"
#include "peer.hpp"

namespace {

using namespace foresight;
using namespace foresight::benchmark;

struct Settings {
  at::Device device = at::kCPU;
  int threads = 1, rounds = 3;
  int64_t frames = 16, side = 256, depth = 24;
};

nlohmann::json measure(Peer* peer, const Settings& settings) {
  at::NoGradGuard no_grad;
  models::VJepa2Options options;
  options.encoder = nn::VideoVitOptions::large();
  options.encoder.depth = settings.depth;
  options.encoder.frames = settings.frames;
  options.encoder.image_height = options.encoder.image_width = options.image.size = settings.side;
  models::VJepa2 model(options, 1);
  model.to(settings.device);
  PhiloxNoise noise(2);
  const auto clip =
      noise.normal({1, 3, settings.frames, settings.side, settings.side}).to(settings.device);
  const TemporaryFolder folder;
  const auto result = folder / "result.safetensors";
  if (peer) {
    const auto inputs = folder / "inputs.safetensors";
    models::write_hf_vjepa2(folder / "model", model);
    io::write_safetensors(inputs, {{"clip", clip.transpose(1, 2).contiguous()}});
    const auto answer = peer->ask({{"do", "load_encoder"},
                                   {"folder", (folder / "model").string()},
                                   {"inputs", inputs.string()},
                                   {"device", settings.device.str()},
                                   {"threads", settings.threads}});
    peer->about["transformers"] = answer.at("transformers");
  }
  Tensor ours;
  std::vector<std::function<double()>> works{
      [&] { return milliseconds([&] { ours = model.encode(clip); }, settings.device); }};
  if (peer)
    works.emplace_back([&]() -> double {
      return peer->ask({{"do", "encode"}, {"result", result.string()}}).at("ms");
    });
  const auto times = in_turns(works, settings.rounds, /*warm_up=*/1);
  nlohmann::json report{{"ours", summary(times[0])}};
  if (!peer) return report;
  const auto theirs = io::SafeTensors::open(result).at("tokens");
  report["peer"] = peer->about;
  report["transformers"] = summary(times[1]);
  report["times_faster"] = median(times[1]) / median(times[0]);
  report["largest_difference"] = (ours.cpu() - theirs).abs().max().item<double>();
  report["largest_value"] = theirs.abs().max().item<double>();
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  return report_beside_peer("vjepa2_encoder", argc, argv, [](const PeerArguments& arguments) {
    const Settings settings{arguments.device(),       arguments.number(2, 1),
                            arguments.number(3, 3),   arguments.number(4, 16),
                            arguments.number(5, 256), arguments.number(6, 24)};
    at::set_num_threads(settings.threads);
    const auto peer = arguments.start("peer_vjepa2.py");
    nlohmann::json report{{"threads", settings.threads},
                          {"frames", settings.frames},
                          {"side", settings.side},
                          {"depth", settings.depth}};
    if (peer) report["peer"] = peer->about;
    report.update(measure(peer.get(), settings));
    return report;
  });
}
