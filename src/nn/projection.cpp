// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/projection.hpp"

#include "foresight/nn/activation.hpp"
#include "foresight/nn/init.hpp"

namespace foresight::nn {

std::vector<std::string> ProjectionOptions::validate() const {
  Rules rules("ProjectionOptions");
  rules.check(hidden >= 0, "hidden", static_cast<double>(hidden), "must be >= 0");
  return rules.problems();
}

Projection::Projection(int64_t input, const ProjectionOptions& options, int64_t output) {
  require_valid(options);
  require(options.hidden >= 1, ErrorCategory::invalid_option,
          "ProjectionOptions.hidden = 0 means no head: do not construct one");
  first_ = place(*this, "net.0", torch::nn::Linear(input, options.hidden));
  if (options.norm == NormKind::batch)
    batch_norm_ = place(*this, "net.1", std::make_shared<BatchNorm1d>(options.hidden));
  if (options.norm == NormKind::layer)
    layer_norm_ =
        place(*this, "net.1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.hidden})));
  last_ = place(*this, "net.3", torch::nn::Linear(options.hidden, output));
}

void Projection::initialise(Noise& noise) { init_layers(*this, noise); }

Tensor Projection::forward(const Tensor& x, Mode mode) const {
  if (const auto packed = packed_for(mode)) return packed->apply(x);
  auto hidden = through(first_, x);
  if (batch_norm_) {
    const auto rows = hidden.reshape({-1, hidden.size(-1)});
    hidden = batch_norm_->apply_to(rows, mode).reshape(hidden.sizes());
  }
  if (layer_norm_) hidden = through(layer_norm_, hidden);
  return through(last_, at::gelu(hidden));
}

Projection::Folded Projection::fold() const {
  Folded folded;
  folded.packed_ = packed_for(Mode::infer);
  if (folded.packed_) return folded;
  folded.first_weight_ = first_->weight;
  folded.first_bias_ = first_->bias;
  folded.last_weight_ = last_->weight;
  folded.last_bias_ = last_->bias;
  folded.norm_ = layer_norm_;
  if (batch_norm_) {
    // gamma (W x + b - mean) / sqrt(var + eps) + beta
    const auto scale =
        batch_norm_->weight * at::rsqrt(batch_norm_->running_var + batch_norm_->options.eps());
    folded.first_weight_ = first_->weight * scale.unsqueeze(1);
    folded.first_bias_ =
        at::addcmul(batch_norm_->bias, first_->bias - batch_norm_->running_mean, scale);
  }
  return folded;
}

void Projection::use_packed(const Packing& packing) {
  if (layer_norm_) return;
  auto weights = parameters();
  // The running statistics, and their count: batch norm does not tell that it wrote to the former.
  for (const auto& buffer : buffers()) weights.push_back(buffer);
  if (packing.format == PackedFormat::float32 && !can_pack_float32(weights)) return;
  packed_ = nullptr;
  const auto folded = fold();
  packed_ = std::make_shared<Packed>(
      Packed{std::make_shared<PackedFeedForward>(folded.first_weight_, folded.first_bias_,
                                                 folded.last_weight_, folded.last_bias_, packing),
             Frozen(weights), packing.format});
}

std::shared_ptr<const PackedFeedForward> Projection::packed_for(Mode mode) const {
  if (packed_ && packed_computes(packed_->frozen, packed_->format, mode, "packed projection"))
    return packed_->layers;
  return nullptr;
}

Tensor Projection::Folded::forward(const Tensor& x) const {
  if (packed_) return packed_->apply(x);
  auto hidden = apply_linear(x, first_weight_, first_bias_);
  if (norm_) hidden = through(norm_, hidden);
  return apply_linear(activate_temporary(std::move(hidden), Activation::gelu), last_weight_,
                      last_bias_);
}

}  // namespace foresight::nn
