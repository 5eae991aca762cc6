// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/markup.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace foresight::viz {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

/// Length of the valid UTF-8 sequence (RFC 3629) at the start of `text`, 0 if there is none.
std::size_t utf8_length(std::string_view text) {
  auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  auto continues = [&](std::size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool overlong = first == 0xe0 && second < 0xa0,
               surrogate = first == 0xed && second >= 0xa0;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool overlong = first == 0xf0 && second < 0x90, beyond = first == 0xf4 && second >= 0x90;
    return continues(1) && continues(2) && continues(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

std::string superscript(int value) {
  static constexpr std::array<const char*, 10> kDigits = {"⁰", "¹", "²", "³", "⁴",
                                                          "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = value < 0 ? "⁻" : "";
  for (const char digit : std::to_string(std::abs(value)))
    text += kDigits[static_cast<std::size_t>(digit - '0')];
  return text;
}

void trim_zeros(std::string& text) {
  if (text.find('.') == std::string::npos) return;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
}

}  // namespace

std::string escape(std::string_view text) {
  std::string safe;
  safe.reserve(text.size() + text.size() / 8);
  for (std::size_t i = 0; i < text.size();) {
    const auto length = utf8_length(text.substr(i));
    const char character = text[i];
    if (length == 0) {
      safe += kReplacement;
    } else if (length > 1) {
      const auto code = text.substr(i, length);
      safe += code == "\xef\xbf\xbe" || code == "\xef\xbf\xbf" ? kReplacement : code;  // not in XML
    } else if (character == '&') {
      safe += "&amp;";
    } else if (character == '<') {
      safe += "&lt;";
    } else if (character == '>') {
      safe += "&gt;";
    } else if (character == '"') {
      safe += "&quot;";
    } else if (character == '\'') {
      safe += "&#39;";
    } else if (static_cast<unsigned char>(character) < 0x20 && character != '\t' &&
               character != '\n' && character != '\r') {
      safe += kReplacement;
    } else {
      safe += character;
    }
    i += std::max<std::size_t>(length, 1);
  }
  return safe;
}

std::string number(double value, int digits) {
  if (std::isnan(value)) return "not a number";
  if (std::isinf(value)) return value > 0 ? "infinity" : "−infinity";
  if (value == 0) return "0";
  std::string text =
      fmt::format("{:.{}e}", value, std::max(digits, 1) - 1);  // rounds once, to `digits`
  const auto mark = text.find('e');
  const int exponent = std::stoi(text.substr(mark + 1));
  if (exponent < -4 || exponent >= 7) {
    text.erase(mark);
    trim_zeros(text);
    text += "·10" + superscript(exponent);
  } else {
    text = fmt::format("{:.{}f}", value, std::max(0, digits - 1 - exponent));
    trim_zeros(text);
  }
  if (text.front() == '-') text.replace(0, 1, "−");
  return text;
}

int code_points(std::string_view text) {
  int count = 0;
  for (const char byte : text) count += (static_cast<unsigned char>(byte) & 0xc0u) != 0x80u;
  return count;
}

std::string_view theme_css() {
  // Series colours keep their order and are told apart by colour-blind readers when neighbours; the
  // colour map is viridis (van der Walt and Smith, 2015), cut so that neither end vanishes into the
  // page.
  return R"(:root{color-scheme:light dark;
--fs-page:#f6f6f4;--fs-surface:#fff;--fs-ink:#1a1b1d;--fs-ink-2:#4c4f55;--fs-muted:#74777e;--fs-grid:#e8e8e6;
--fs-axis:#b4b6ba;--fs-border:#dfdfdc;--fs-warn:#a8480a;--fs-link:#1f63b5;
--fs-s0:#2a78d6;--fs-s1:#e0662b;--fs-s2:#159a68;--fs-s3:#7a54c7;--fs-s4:#c98a00;--fs-s5:#d1487f;--fs-s6:#0f8fa8;--fs-s7:#7c7f86;
--fs-m0:#440154;--fs-m1:#461668;--fs-m2:#472a79;--fs-m3:#423e83;--fs-m4:#3c4f89;--fs-m5:#355f8d;--fs-m6:#2e6e8e;--fs-m7:#287d8e;
--fs-m8:#238c8c;--fs-m9:#219a89;--fs-m10:#22a884;--fs-m11:#36b678;--fs-m12:#4fc36a;--fs-m13:#6fcd57;--fs-m14:#95d740;--fs-m15:#bddf26}
@media(prefers-color-scheme:dark){:root{
--fs-page:#111214;--fs-surface:#191a1d;--fs-ink:#ececee;--fs-ink-2:#b9bbc1;--fs-muted:#8f929a;--fs-grid:#2a2c30;
--fs-axis:#55585f;--fs-border:#2e3035;--fs-warn:#f0a35e;--fs-link:#7db4f2;
--fs-s0:#5a9cf0;--fs-s1:#f0834b;--fs-s2:#35b884;--fs-s3:#a98bec;--fs-s4:#dcab3a;--fs-s5:#e875a3;--fs-s6:#3db5cd;--fs-s7:#9a9da5;
--fs-m0:#423e83;--fs-m1:#3d4d89;--fs-m2:#365c8c;--fs-m3:#306a8d;--fs-m4:#2a788e;--fs-m5:#25858d;--fs-m6:#21938b;--fs-m7:#229f87;
--fs-m8:#28ac81;--fs-m9:#3ab976;--fs-m10:#52c468;--fs-m11:#70ce57;--fs-m12:#92d642;--fs-m13:#b7de2a;--fs-m14:#dae326;--fs-m15:#fde725}}
.fs-figure{display:block;max-width:100%;height:auto;font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",Arial,sans-serif}
.fs-title{font-size:13px;font-weight:600;fill:var(--fs-ink)}.fs-label{font-size:11px;fill:var(--fs-ink-2)}
.fs-tick{font-size:10.5px;fill:var(--fs-muted);font-variant-numeric:tabular-nums}.fs-value{font-size:11px;fill:var(--fs-ink);font-variant-numeric:tabular-nums}
.fs-note{font-size:10.5px;fill:var(--fs-warn)}.fs-empty{font-size:12px;fill:var(--fs-muted)}
.fs-grid{stroke:var(--fs-grid);fill:none}.fs-axis{stroke:var(--fs-axis);fill:none}.fs-hollow{fill:none;stroke:var(--fs-axis)}
.fs-line{fill:none;stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round}.fs-dots{fill:none;stroke-linecap:round}
.fs-band{opacity:.17;stroke:none}.fs-whisker{fill:none;stroke:var(--fs-ink);stroke-width:1.25}.fs-reference{fill:none;stroke:var(--fs-ink-2);stroke-dasharray:4 4}
.fs-l0{stroke:var(--fs-s0)}.fs-l1{stroke:var(--fs-s1)}.fs-l2{stroke:var(--fs-s2)}.fs-l3{stroke:var(--fs-s3)}
.fs-l4{stroke:var(--fs-s4)}.fs-l5{stroke:var(--fs-s5)}.fs-l6{stroke:var(--fs-s6)}.fs-l7{stroke:var(--fs-s7)}
.fs-f0{fill:var(--fs-s0)}.fs-f1{fill:var(--fs-s1)}.fs-f2{fill:var(--fs-s2)}.fs-f3{fill:var(--fs-s3)}
.fs-f4{fill:var(--fs-s4)}.fs-f5{fill:var(--fs-s5)}.fs-f6{fill:var(--fs-s6)}.fs-f7{fill:var(--fs-s7)}
.fs-m0{--fs-c:var(--fs-m0)}.fs-m1{--fs-c:var(--fs-m1)}.fs-m2{--fs-c:var(--fs-m2)}.fs-m3{--fs-c:var(--fs-m3)}
.fs-m4{--fs-c:var(--fs-m4)}.fs-m5{--fs-c:var(--fs-m5)}.fs-m6{--fs-c:var(--fs-m6)}.fs-m7{--fs-c:var(--fs-m7)}
.fs-m8{--fs-c:var(--fs-m8)}.fs-m9{--fs-c:var(--fs-m9)}.fs-m10{--fs-c:var(--fs-m10)}.fs-m11{--fs-c:var(--fs-m11)}
.fs-m12{--fs-c:var(--fs-m12)}.fs-m13{--fs-c:var(--fs-m13)}.fs-m14{--fs-c:var(--fs-m14)}.fs-m15{--fs-c:var(--fs-m15)}
.fs-cell{fill:var(--fs-c)}.fs-dot{stroke:var(--fs-c)}
)";
}

std::string standalone(const Svg& figure) {
  static constexpr std::string_view kOpen = "<svg ";
  const auto at = figure.markup.find(kOpen);
  if (at == std::string::npos) return figure.markup;
  const auto end_of_tag = figure.markup.find('>', at);
  std::string document = figure.markup.substr(0, end_of_tag + 1);
  document.insert(at + kOpen.size(), "xmlns=\"http://www.w3.org/2000/svg\" ");
  document += "<style>";
  document += theme_css();
  document += ".fs-figure{background:var(--fs-surface)}</style>";
  return document + figure.markup.substr(end_of_tag + 1) + "\n";
}

}  // namespace foresight::viz
