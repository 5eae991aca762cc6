// SPDX-License-Identifier: Apache-2.0
// The world model conformance suite that is installed for users, with the Catch2 of this build.
#pragma once

#include "catch.hpp"
#include "foresight/testing/world_model_conformance.hpp"

namespace foresight {
using testing::check_conformance;
using testing::Conformance;
using testing::Gradients;
}  // namespace foresight
