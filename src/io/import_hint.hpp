// SPDX-License-Identifier: Apache-2.0
// What every message about something that is no bundle ends with. Private to the library.
#pragma once

namespace foresight::io {

inline constexpr const char* kImportHint =
    ". Weights of another project become a bundle by `foresight import vit FROM --out BUNDLE` "
    "(image encoders), or with lewm, dino_wm, eb_jepa, vjepa2, ijepa or vjepa2_ac in place of vit";

}  // namespace foresight::io
