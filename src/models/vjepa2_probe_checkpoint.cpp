// SPDX-License-Identifier: Apache-2.0
// Attentive probes in V-JEPA 2's own files, alone or in a list of which one is chosen.
#include <charconv>
#include <map>

#include "checkpoint_sizes.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {
namespace {

constexpr std::string_view kProbeList = "classifiers.";

// The number between "classifiers." and the next dot; -1 for a name of no list.
int64_t number_in_list(std::string_view key) {
  if (!key.starts_with(kProbeList)) return -1;
  key.remove_prefix(kProbeList.size());
  int64_t number = -1;
  const auto end = std::from_chars(key.data(), key.data() + key.size(), number).ptr;
  return end != key.data() + key.size() && *end == '.' ? number : -1;
}

}  // namespace

io::NamedTensors vjepa2_probe_tensors(const io::NamedTensors& file, int64_t which,
                                      std::string_view source) {
  std::map<int64_t, io::NamedTensors> listed;
  io::NamedTensors alone;
  for (const auto& [given, tensor] : file) {
    const auto key = vjepa2_key(given);
    const auto number = number_in_list(key);
    if (number < 0)
      alone.emplace_back(key, tensor);
    else
      listed[number].emplace_back(key.substr(key.find('.', kProbeList.size()) + 1), tensor);
  }
  const std::string name(source);
  if (listed.empty()) {
    require(which <= 0, ErrorCategory::invalid_option,
            name + ": holds one probe and no list, so that there is none of number " +
                std::to_string(which));
    return alone;
  }
  const auto last = std::to_string(listed.rbegin()->first);
  require(which >= 0 || listed.size() == 1, ErrorCategory::invalid_option,
          name + ": holds " + std::to_string(listed.size()) +
              " probes, each trained with another rate or decay: choose one (--probe_index, "
              "ProbeFileOptions.which), 0 to " +
              last);
  const auto found = which < 0 ? listed.begin() : listed.find(which);
  require(
      found != listed.end(), ErrorCategory::invalid_option,
      name + ": there is no probe of number " + std::to_string(which) + ", they are 0 to " + last);
  return found->second;
}

std::shared_ptr<AttentiveProbe> load_vjepa2_probe(const io::NamedTensors& file,
                                                  std::string_view source,
                                                  const ProbeFileOptions& options) {
  const auto tensors = vjepa2_probe_tensors(file, options.which, source);
  AttentiveProbeOptions probe;
  probe.outputs = extent(tensors, "linear.weight", 2, 0, source);
  const auto width = extent(tensors, "pooler.query_tokens", 3, 2, source);
  probe.pooler.self_attention = count_below(tensors, "pooler.blocks.");
  probe.pooler.heads = options.heads;
  probe.pooler.mlp_width =
      extent(tensors, "pooler.cross_attention_block.mlp.fc1.weight", 2, 0, source);
  SizeFaults faults;
  expect_blocks(tensors, "pooler.blocks.", probe.pooler.self_attention, width,
                probe.pooler.mlp_width, source, kFromOthers, &faults);
  const auto hidden = probe.pooler.mlp_width;
  const std::vector<std::pair<std::string, std::vector<int64_t>>> others{
      {"pooler.query_tokens", {1, 1, width}},
      {"pooler.cross_attention_block.xattn.q.weight", {width, width}},
      {"pooler.cross_attention_block.xattn.kv.weight", {2 * width, width}},
      {"pooler.cross_attention_block.mlp.fc1.weight", {hidden, width}},
      {"pooler.cross_attention_block.mlp.fc2.weight", {width, hidden}},
      {"linear.weight", {probe.outputs, width}}};
  for (const auto& [name, shape] : others)
    expect_tensor(tensors, name, shape, source, kFromOthers, &faults);
  faults.throw_if_any(tensors, source, [&] {
    auto sized = probe;
    sized.pooler.heads = 1;  // no name hangs on them
    return nn::state_dict(AttentiveProbe(width, sized, std::nullopt));
  });
  if (probe.pooler.mlp_width == AttentiveProbeOptions().pooler.hidden(width))
    probe.pooler.mlp_width = 0;
  auto loaded = std::make_shared<AttentiveProbe>(width, probe, std::nullopt);
  nn::load_state_dict(*loaded, tensors, source);
  loaded->eval();
  return loaded;
}

}  // namespace foresight::models
