// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 and I-JEPA under the names of their own code and of transformers, where that code
// computes what our network does.
#include "foresight/models/vjepa2_checkpoint.hpp"

#include <sstream>

#include "foresight/core/log.hpp"
#include "foresight/nn/vit_layouts.hpp"

namespace foresight::models {
namespace {

constexpr std::string_view kOwnMaskToken = "predictor.mask_tokens.0";
// A classifier of transformers has the network below this, and the probe beside it.
constexpr std::string_view kClassifierPrefix = "vjepa2.";
constexpr std::string_view kIJepaMaskToken = "predictor.mask_token";

// Throws for the settings that the class or code `whose` lacks.
class LayoutNeeds {
 public:
  explicit LayoutNeeds(std::string whose) : whose_(std::move(whose)) {}
  void operator()(bool holds, const std::string& what) const {
    require(holds, ErrorCategory::unsupported, whose_ + " has no " + what);
  }

 private:
  std::string whose_;
};

// Interleaved rotary positions are ours: all published code tiles them.
template <class Part>
bool interleaved(const Part& part) {
  return part.positions == nn::PositionKind::rope && part.rope == nn::RopeConvention::interleaved;
}

bool both_have(const VJepa2Options& o, nn::PositionKind positions) {
  return o.encoder.positions == positions && o.predictor.positions == positions;
}

bool any_gated(const VJepa2Options& o) {
  return o.encoder.feed_forward != nn::FeedForward::gelu ||
         o.predictor.feed_forward != nn::FeedForward::gelu;
}

// No tensor tells the epsilon, and the original codes have none but this.
template <class Options>
void require_own_epsilon(const Options& o, const LayoutNeeds& needs) {
  constexpr double kOwn = 1e-6;
  needs(o.encoder.norm_epsilon == kOwn && o.predictor.norm_epsilon == kOwn,
        "epsilon in its norms but 1e-6");
}

void require_ijepa(const VJepa2Options& o, const LayoutNeeds& needs) {
  needs(both_have(o, nn::PositionKind::sincos), "positions but added sine-cosine ones");
  needs(!any_gated(o), "gated feed-forward");
  needs(o.encoder.image_height == o.encoder.image_width, "pictures that are not square");
}

}  // namespace

void require_layout(const VJepa2Options& o, VJepa2Layout layout) {
  const auto& e = o.encoder;
  const auto& p = o.predictor;
  const bool picture = e.is_picture();
  if (layout == VJepa2Layout::original) {
    if (picture) {
      const LayoutNeeds needs("I-JEPA's own code");
      require_ijepa(o, needs);
      needs(p.mask_tokens == 1, "second mask token");
      return require_own_epsilon(o, needs);
    }
    const LayoutNeeds needs("V-JEPA 2's own code");
    needs(!interleaved(e) && !interleaved(p), "interleaved rotary positions");
    needs(p.positions != nn::PositionKind::rope || p.grid == nn::PredictorGrid::square ||
              e.image_height == e.image_width,
          "predictor that counts rows and columns of pictures that are not square");
    return require_own_epsilon(o, needs);
  }
  if (picture) return require_ijepa(o, LayoutNeeds("transformers' IJepaModel"));
  const LayoutNeeds needs("transformers' VJEPA2Model");
  needs(both_have(o, nn::PositionKind::rope) && !interleaved(e) && !interleaved(p),
        "positions but tiled rotary ones");
  needs(!any_gated(o), "gated feed-forward");
  needs(e.image_height == e.image_width, "pictures that are not square");
  needs(e.qkv_bias == p.qkv_bias && e.norm_epsilon == p.norm_epsilon,
        "predictor with settings of its own");
}

void require_layout(const VJepa2AcOptions& options) {
  const LayoutNeeds needs("V-JEPA 2-AC's own code");
  needs(!interleaved(options.encoder) && !interleaved(options.predictor),
        "interleaved rotary positions");
  require_own_epsilon(options, needs);
}

io::NamedTensors published_vjepa2(const VJepa2Options& options, const io::NamedTensors& own,
                                  VJepa2Layout layout) {
  require_layout(options, layout);
  const bool picture = options.encoder.is_picture();
  if (layout == VJepa2Layout::transformers) {
    return picture
               ? nn::vit_tensors(vjepa2_part(own, "encoder", options.encoder.positions, "model"))
               : vjepa2_to_hf(own);
  }
  auto tensors = own;
  for (auto& [name, tensor] : tensors)
    if (picture && name == kOwnMaskToken) name = kIJepaMaskToken;
  return tensors;
}

namespace {

// What the class of a probe in `layout` fixes, which options leave open.
void require_probe_layout(const VJepa2Options& options, const AttentiveProbeOptions& probe,
                          VJepa2Layout layout) {
  constexpr double kOwnEpsilon = 1e-5;  // torch's default
  const auto& pooler = probe.pooler;
  const auto width = options.encoder.width;
  const bool own = layout == VJepa2Layout::original;
  const LayoutNeeds needs(own ? "V-JEPA 2's own AttentiveClassifier"
                              : "transformers' VJEPA2ForVideoClassification");
  needs(pooler.hidden(width) == 4 * width,
        "feed-forward parts but those four times as wide as the tokens");
  const double epsilon = own ? kOwnEpsilon : options.encoder.norm_epsilon;
  if (!own) {
    needs(!options.encoder.is_picture(), "encoder of single pictures");
    needs(pooler.heads == options.encoder.heads,
          "probe of another number of attention heads (" + std::to_string(pooler.heads) +
              ") than its encoder's (" + std::to_string(options.encoder.heads) + ")");
  }
  if (pooler.norm_epsilon != epsilon) {
    std::ostringstream text;
    text << "the probe's norms add " << pooler.norm_epsilon << " to variances, "
         << (own ? "V-JEPA 2's own class " : "the class of transformers ") << epsilon
         << ": its outputs will differ by about as much";
    log(LogLevel::warning, text.str());
  }
}

}  // namespace

io::NamedTensors published_vjepa2(const VJepa2Options& options, const io::NamedTensors& own,
                                  const AttentiveProbeOptions& probe,
                                  const io::NamedTensors& probe_tensors, VJepa2Layout layout) {
  require_layout(options, layout);
  require_probe_layout(options, probe, layout);
  if (layout == VJepa2Layout::original) {
    auto tensors = published_vjepa2(options, own, layout);
    tensors.insert(tensors.end(), probe_tensors.begin(), probe_tensors.end());
    return tensors;
  }
  auto all = own;
  all.insert(all.end(), probe_tensors.begin(), probe_tensors.end());
  return vjepa2_to_hf(all, kClassifierPrefix);
}

}  // namespace foresight::models
