// SPDX-License-Identifier: Apache-2.0
// The planner conformance suite that is installed for users, with the Catch2 of this build.
#pragma once

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/testing/planner_conformance.hpp"
