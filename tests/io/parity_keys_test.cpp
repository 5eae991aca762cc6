// SPDX-License-Identifier: Apache-2.0
// Which tensors the parity page demands in bfloat16, whatever the wide patterns of those that may
// be left out there allow.
#include "../../benchmarks/parity_keys.hpp"

#include "catch.hpp"

namespace foresight::benchmark {

TEST_CASE("a result that bfloat16 is asked for is missed when its line is gone") {
  using Keys = std::vector<std::string>;
  const std::set<std::string> wide{"loss", "act_pred", "grads/a.weight", "grads/a.bias"};
  CHECK(missing_in_bfloat16("lewm/lewm_train_step", wide, wide).empty());
  // Gradients alone still are a row in bfloat16, and `loss` may not hide behind it; nor may one
  // gradient behind the others.
  CHECK(missing_in_bfloat16("lewm/lewm_train_step", wide, {"grads/a.bias", "grads/a.weight"}) ==
        Keys{"loss"});
  CHECK(missing_in_bfloat16("lewm/lewm_train_step_added", wide, {"loss", "grads/a.bias"}) ==
        Keys{"grads/a.weight"});
  CHECK(missing_in_bfloat16("dino_wm/dino_wm_rollout", {"a.visual", "a.latent"}, {"a.proprio"}) ==
        Keys{"a.visual"});
  CHECK(missing_in_bfloat16("vjepa2/vjepa2_cem", {"energies", "mean"}, {}) == Keys{"energies"});
  CHECK(missing_in_bfloat16("vjepa2/vjepa2_masks", {"loss"}, {}).empty());
}

}  // namespace foresight::benchmark
