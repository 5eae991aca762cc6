// SPDX-License-Identifier: Apache-2.0
// Between Eigen and tensors, in memory made once: what EigenController does besides calling Mpc.
#pragma once

#include <algorithm>
#include <limits>

#include "foresight/control/eigen_controller.hpp"
#include "foresight/control/mpc.hpp"

namespace foresight::detail {

/// An observation of batch 1 that is written in place.
class EigenInput {
 public:
  explicit EigenInput(const ModelSpec& spec) : spec_(spec) {
    for (const auto& field : spec.observation) {
      std::vector<int64_t> shape{1};
      shape.insert(shape.end(), field.shape.begin(), field.shape.end());
      observation_.set(field.name, at::zeros(shape, field.dtype));
    }
    for (const auto& [name, value] : observation_.fields()) tensors_.push_back(value);
    written_.resize(tensors_.size());
  }

  /// Index of a field; -1: there is none of that name.
  int find(std::string_view name) const {
    for (std::size_t i = 0; i < spec_.observation.size(); ++i)
      if (spec_.observation[i].name == name) return static_cast<int>(i);
    return -1;
  }
  int64_t size(int field) const { return tensors_[static_cast<std::size_t>(field)].numel(); }

  /// Row-major numbers into a float or double field. False: it does not fit.
  bool write(int field, const EigenVectorIn& values) {
    if (field < 0 || values.size() != size(field)) return false;
    auto& tensor = tensors_[static_cast<std::size_t>(field)];
    if (tensor.scalar_type() == at::kFloat) {
      Eigen::Map<Eigen::VectorXf>(tensor.data_ptr<float>(), values.size()) = values.cast<float>();
      return written_[static_cast<std::size_t>(field)] = true;
    }
    if (tensor.scalar_type() != at::kDouble) return false;
    Eigen::Map<Eigen::VectorXd>(tensor.data_ptr<double>(), values.size()) = values;
    return written_[static_cast<std::size_t>(field)] = true;
  }

  /// An image [H,W,3] into a uint8 field of that shape. False: it does not fit.
  bool write(int field, const EigenImageIn& image) {
    if (field < 0) return false;
    auto& tensor = tensors_[static_cast<std::size_t>(field)];
    if (tensor.scalar_type() != at::kByte || tensor.dim() != 4 || image.rows() != tensor.size(1) ||
        image.cols() != tensor.size(2) * tensor.size(3))
      return false;
    Eigen::Map<EigenImage>(tensor.data_ptr<std::uint8_t>(), image.rows(), image.cols()) = image;
    return written_[static_cast<std::size_t>(field)] = true;
  }

  /// Name of the first field that was not written; empty: all were.
  std::string_view unwritten() const {
    for (std::size_t i = 0; i < written_.size(); ++i)
      if (!written_[i]) return spec_.observation[i].name;
    return {};
  }
  /// As if nothing had been written, but for `kept` (-1: no such field).
  void forget(int kept) {
    for (std::size_t i = 0; i < written_.size(); ++i)
      written_[i] = written_[i] && static_cast<int>(i) == kept;
  }

  const Observation& observation() const { return observation_; }

 private:
  const ModelSpec spec_;
  Observation observation_;
  std::vector<Tensor> tensors_;  // the observation's own, in the order of the spec
  std::vector<bool> written_;
};

/// Fills `told` from `decision`, which stays alive while `told` is read. `told.action` has its size
/// already.
inline void tell(const Decision& decision, EigenDecision& told) {
  const auto& action = decision.action;
  if (action.scalar_type() == at::kFloat) {
    told.action =
        Eigen::Map<const Eigen::VectorXf>(action.data_ptr<float>(), action.numel()).cast<double>();
  } else {
    told.action[0] = static_cast<double>(*action.data_ptr<int64_t>());
  }
  told.status = decision.status;
  told.message = decision.message;
  told.source = enum_name(decision.sources.front());
  told.fault = enum_name(decision.faults.front());
  told.replanned = decision.replanned();
  told.observe_seconds = decision.observe_seconds;
  told.plan_seconds = decision.plan_seconds;
}

}  // namespace foresight::detail
