// SPDX-License-Identifier: Apache-2.0
#include "agreement.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"

namespace foresight::train {

void compare(const nlohmann::json& here, const nlohmann::json& there, const std::string& path,
             const std::string& where, Differences& found) {
  if (here.is_object() && there.is_object()) {
    for (const auto& [key, value] : here.items()) {
      const auto inner = path.empty() ? key : path + "." + key;
      if (there.contains(key))
        compare(value, there[key], inner, where, found);
      else
        found.unknown.push_back(inner + " = " + value.dump());
    }
  } else if (here != there) {
    found.other.push_back(
        fmt::format("{}: {} here, {} {}", path, here.dump(), there.dump(), where));
  }
}

// Sums of one number and zeros: exact, and all that Replicas offer.
std::vector<std::string> gathered(const Replicas& processes, const std::string& text) {
  const at::NoGradGuard no_grad;
  const auto rank = processes.rank(), count = processes.count();
  auto sizes = at::zeros({count}, at::kDouble);
  sizes[rank] = static_cast<double>(text.size());
  sizes = processes.sum(sizes);
  const auto ends = sizes.cumsum(0).to(at::kLong);
  auto bytes = at::zeros({ends[count - 1].item<int64_t>()}, at::kFloat);
  const auto last = ends[rank].item<int64_t>();
  for (std::size_t i = 0; i < text.size(); ++i)
    bytes.data_ptr<float>()[static_cast<std::size_t>(last) - text.size() + i] =
        static_cast<float>(static_cast<unsigned char>(text[i]));
  if (bytes.numel() > 0) bytes = processes.sum(bytes);
  const auto* all = bytes.const_data_ptr<float>();
  std::vector<std::string> texts;
  for (int64_t process = 0, i = 0; process < count; ++process) {
    auto& one = texts.emplace_back();
    for (const auto end = ends[process].item<int64_t>(); i < end; ++i)
      one += static_cast<char>(static_cast<unsigned char>(all[i]));
  }
  return texts;
}

void require_agreement(const nlohmann::json& options, const Replicas* processes) {
  if (processes == nullptr || processes->count() == 1) return;
  const auto texts =
      gathered(*processes, options.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  const auto first = nlohmann::json::parse(texts.front());
  for (std::size_t rank = 1; rank < texts.size(); ++rank) {
    Differences found;
    compare(nlohmann::json::parse(texts[rank]), first, "", "in rank 0", found);
    found.other.insert(found.other.end(), found.unknown.begin(), found.unknown.end());
    require(texts[rank] == texts.front(), ErrorCategory::invalid_option,
            fmt::format("all processes of a training must have the same options and recordings; "
                        "rank {}: {}",
                        rank, fmt::join(found.other, "; ")));
  }
}

}  // namespace foresight::train
