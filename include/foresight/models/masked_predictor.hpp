// SPDX-License-Identifier: Apache-2.0
// The second kind of predictive model beside WorldModel: not what happens next under an action, but
// what is hidden behind a mask. V-JEPA and I-JEPA learn their encoders so.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::models {

/// From the tokens of visible places, the tokens of hidden places. Places are numbered as the
/// encoder numbers its tokens. Const and stateless: one instance serves several threads.
class FORESIGHT_API MaskedPredictor {
 public:
  virtual ~MaskedPredictor() = default;

  /// Tokens [B,c,D] of the places `ids` (int64 [B,c]) of observations [B,...], computed from those
  /// places alone: nothing of the hidden ones leaks in.
  virtual Tensor encode_context(const Tensor& observations, const Tensor& ids) const = 0;

  /// Predicted tokens [B,m,D] of target_ids (int64 [B,m]) from context tokens [B,c,D] at
  /// context_ids [B,c]. `mask_index` picks one of the learned mask tokens, where a model has
  /// several.
  virtual Tensor predict_targets(const Tensor& context, const Tensor& context_ids,
                                 const Tensor& target_ids, int64_t mask_index = 0) const = 0;
};

}  // namespace foresight::models
