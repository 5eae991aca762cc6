// SPDX-License-Identifier: Apache-2.0
// A small strict reader of markup for the tests: balanced tags, quoted and unique attributes, known
// entities, no stray characters. Written without looking at the code under test; it accepts only
// what XML 1.0 accepts (plus a doctype).
#pragma once

#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace foresight::test {

/// Empty if `text` is well-formed, otherwise what is wrong and where.
inline std::string markup_problem(std::string_view text) {
  std::size_t at = 0;
  std::vector<std::string> open;
  bool seen_root = false;
  auto problem = [&](const std::string& what) {
    const auto begin = at > 30 ? at - 30 : 0;
    return what + " at byte " + std::to_string(at) + ": ..." + std::string(text.substr(begin, 80));
  };
  auto name_character = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == ':';
  };
  auto read_name = [&] {
    const auto begin = at;
    while (at < text.size() && name_character(text[at])) ++at;
    return std::string(text.substr(begin, at - begin));
  };
  auto skip_space = [&] {
    while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) ++at;
  };
  auto entity_holds = [&] {
    for (const std::string_view entity : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"})
      if (text.substr(at, entity.size()) == entity) return true;
    return false;
  };

  if (text.substr(0, 15) == "<!doctype html>") at = 15;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '&') {
      if (!entity_holds()) return problem("bad entity");
      ++at;
    } else if (c == '>') {
      return problem("stray '>'");
    } else if (static_cast<unsigned char>(c) < 0x20 &&
               !std::isspace(static_cast<unsigned char>(c))) {
      return problem("control character");
    } else if (c != '<') {
      if (open.empty() && !std::isspace(static_cast<unsigned char>(c)))
        return problem("text outside the root");
      ++at;
    } else if (text.substr(at, 2) == "</") {
      at += 2;
      const auto name = read_name();
      if (open.empty() || open.back() != name) return problem("</" + name + "> closes nothing");
      open.pop_back();
      if (at >= text.size() || text[at] != '>') return problem("unfinished end tag");
      ++at;
    } else {
      ++at;
      const auto name = read_name();
      if (name.empty()) return problem("'<' without a name");
      if (open.empty() && seen_root) return problem("a second root");
      seen_root = true;
      std::set<std::string> attributes;
      for (skip_space(); at < text.size() && name_character(text[at]); skip_space()) {
        const auto attribute = read_name();
        if (!attributes.insert(attribute).second)
          return problem("attribute '" + attribute + "' twice");
        if (text.substr(at, 2) != "=\"")
          return problem("attribute '" + attribute + "' is not quoted");
        for (at += 2; at < text.size() && text[at] != '"'; ++at) {
          if (text[at] == '<') return problem("'<' in an attribute");
          if (text[at] == '&' && !entity_holds()) return problem("bad entity in an attribute");
        }
        if (at >= text.size()) return problem("unfinished attribute");
        ++at;
      }
      if (text.substr(at, 2) == "/>") {
        at += 2;
      } else if (at < text.size() && text[at] == '>') {
        ++at;
        open.push_back(name);
      } else {
        return problem("unfinished tag <" + name);
      }
    }
  }
  if (!open.empty()) return "<" + open.back() + "> is never closed";
  return seen_root ? "" : "no element at all";
}

/// All values of `attribute` in elements named `element`, in order.
inline std::vector<std::string> attribute_values(const std::string& markup,
                                                 const std::string& element,
                                                 const std::string& attribute) {
  std::vector<std::string> values;
  for (auto at = markup.find("<" + element + " "); at != std::string::npos;
       at = markup.find("<" + element + " ", at + 1)) {
    const auto tag = markup.substr(at, markup.find('>', at) - at);
    const auto key = " " + attribute + "=\"";
    if (const auto begin = tag.find(key); begin != std::string::npos) {
      const auto value = begin + key.size();
      values.push_back(tag.substr(value, tag.find('"', value) - value));
    }
  }
  return values;
}

/// The numbers in path data, in order.
inline std::vector<double> numbers_in(const std::string& data) {
  std::vector<double> numbers;
  const char* at = data.c_str();
  while (*at != '\0') {
    char* end = nullptr;
    const double value = std::strtod(at, &end);
    if (end == at) {
      ++at;
    } else {
      numbers.push_back(value);
      at = end;
    }
  }
  return numbers;
}

}  // namespace foresight::test
