// SPDX-License-Identifier: Apache-2.0
// Filling a model's tensors from a file, all or nothing: every tensor must be there, fit, and
// nothing may be left over.
#pragma once

#include <string_view>

#include "foresight/io/safetensors.hpp"

namespace foresight::io {

/// Which element types may fill which.
enum class DtypeRule {
  exact,      ///< the file's type is the target's type
  same_kind,  ///< floating point fills floating point (converted), integers fill integers if the
              ///< values fit
};

/// How a target gets its values.
enum class Placement {
  copy,   ///< into the target's own memory
  share,  ///< the target takes over the given tensor's memory where type, device and layout allow
          ///< it, so that weights mapped from a file exist once; both change together from then on
  share_frozen,  ///< share for targets that require no gradient, copy for the others: what training
                 ///< writes into is the target's own
};

/// Fills `targets` from `given` by name; targets keep their device and type, and may require
/// gradients. Unless the names are the same and all shapes and types fit, throws Error(bad_file)
/// that opens with `source` and lists every missing, unexpected and misfitting tensor (one a line,
/// missing ones with the nearest unexpected name), and no target is changed.
FORESIGHT_API void load_into(const NamedTensors& targets, const NamedTensors& given,
                             std::string_view source, DtypeRule rule = DtypeRule::exact,
                             Placement placement = Placement::copy);

/// The checks of load_into() alone.
FORESIGHT_API void check_fit(const NamedTensors& targets, const NamedTensors& given,
                             std::string_view source, DtypeRule rule = DtypeRule::exact);

/// load_into() from all tensors of a file whose names begin with `prefix`, without that prefix.
FORESIGHT_API void load_into(const NamedTensors& targets, const SafeTensors& file,
                             DtypeRule rule = DtypeRule::exact, std::string_view prefix = {});

}  // namespace foresight::io
