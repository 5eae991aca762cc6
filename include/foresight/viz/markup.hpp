// SPDX-License-Identifier: Apache-2.0
// The few rules by which text and numbers enter HTML and SVG: everything is escaped, and markup
// that is already safe has a type of its own, so that a string can never reach a page unescaped by
// mistake.
#pragma once

#include <string>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight::viz {

/// One `<svg>` element without an XML namespace, as HTML5 embeds it: well-formed, self-contained,
/// coloured through the variables of theme_css().
struct Svg {
  std::string markup;
};

/// Text for element content and for quoted attribute values of HTML and XML: & < > " ' become
/// entities, control characters that XML 1.0 forbids and bytes that are not UTF-8 become U+FFFD.
FORESIGHT_API std::string escape(std::string_view text);

/// A number for people: `digits` significant digits, no trailing zeros, "not a number" and
/// "infinity" in words.
FORESIGHT_API std::string number(double value, int digits = 4);

/// Number of characters (code points) of UTF-8 text.
FORESIGHT_API int code_points(std::string_view text);

/// Colour variables for light and dark pages and the classes that figures use. The page's own
/// preference (prefers-color-scheme) selects the set.
FORESIGHT_API std::string_view theme_css();

/// A complete .svg document: the figure with its namespace and style sheet.
FORESIGHT_API std::string standalone(const Svg& figure);

}  // namespace foresight::viz
