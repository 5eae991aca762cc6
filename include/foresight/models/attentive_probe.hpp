// SPDX-License-Identifier: Apache-2.0
// The attentive probe of V-JEPA 2 (arXiv 2506.09985, section 6): what can be read off a frozen
// encoder's tokens by a small transformer that pools them with a learned query. A classifier of
// videos is such a probe behind its encoder.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foresight/nn/attentive_pooler.hpp"

namespace foresight::models {

/// What a probe's outputs are.
enum class ProbeReading {
  classes,  ///< unnormalised log-probabilities of classes
  values,   ///< numbers, in their own units
};

struct FORESIGHT_API AttentiveProbeOptions {
  ProbeReading reading = ProbeReading::classes;
  int64_t outputs = 1;                  ///< classes or numbers
  std::vector<std::string> names = {};  ///< of the outputs; empty: not known
  nn::AttentivePoolerOptions pooler = {};

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("reading", self.reading, "what the outputs are: classes or values");
    visit("outputs", self.outputs, "number of classes or values");
    visit("names", self.names, "of the outputs; empty: not known");
    visit("pooler", self.pooler, "how tokens become one vector");
  }
  std::vector<std::string> validate() const;

  /// The name of an output, or its number where names are not known.
  std::string name_of(int64_t output) const;
};

/// Attentive pooling and a linear layer. State-dict keys: pooler.*, linear.*, those of the original
/// probes.
class FORESIGHT_API AttentiveProbe : public torch::nn::Module {
 public:
  /// `width`: of the tokens. A probe with initial weights drawn from `seed`; without one, weights
  /// are for a loader to fill. Throws Error(invalid_option).
  AttentiveProbe(int64_t width, const AttentiveProbeOptions& options,
                 std::optional<std::uint64_t> seed = 0);

  int64_t width() const noexcept { return width_; }
  const AttentiveProbeOptions& options() const noexcept { return options_; }

  /// Tokens [B,n,D] -> [B,outputs]: log-probabilities up to a constant, or values.
  Tensor forward(const Tensor& tokens) const;
  /// Tokens [B,n,D] -> [B,outputs]: probabilities of the classes, or values.
  Tensor predict(const Tensor& tokens) const;

  /// An independent probe with the same weights, flags, dtype and device.
  std::shared_ptr<AttentiveProbe> copy() const;
  /// Makes every output y `scale` * y + `offset`, both [outputs], by its last layer: from values
  /// that were standardised for training to their own units, or back.
  void transform_outputs(const std::vector<double>& scale, const std::vector<double>& offset);

 private:
  int64_t width_;
  AttentiveProbeOptions options_;
  std::shared_ptr<nn::AttentivePooler> pooler_;
  torch::nn::Linear linear_{nullptr};
};

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::ProbeReading> {
  using E = foresight::models::ProbeReading;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"classes", E::classes}, {"values", E::values}}};
};
