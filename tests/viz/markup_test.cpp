// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/markup.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "markup_checker.hpp"

namespace foresight::viz::markup_test {

TEST_CASE("the markup checker itself tells good from bad") {
  using foresight::test::markup_problem;
  CHECK(markup_problem("<a x=\"1\"><b/>t&amp;</a>").empty());
  for (const char* bad :
       {"<a>", "<a></b>", "</a>", "<a x=1/>", "<a x=\"1\" x=\"2\"/>", "<a>&</a>", "<a>&x;</a>",
        "<a>></a>", "<a/><b/>", "<a", "t", "", "<a x=\"<\"/>", "<a>\x01</a>"}) {
    INFO(bad);
    CHECK_FALSE(markup_problem(bad).empty());
  }
}

TEST_CASE("text cannot leave its element or attribute") {
  CHECK(escape("a < b && c > \"d\" 'e'") == "a &lt; b &amp;&amp; c &gt; &quot;d&quot; &#39;e&#39;");
  CHECK(escape("<script>alert(1)</script>").find('<') == std::string::npos);
  CHECK(escape("µ → latent 潜在 🙂\t\n") == "µ → latent 潜在 🙂\t\n");
}

TEST_CASE(
    "bytes that are not UTF-8 and characters that XML forbids become a replacement character") {
  const std::string replaced = "\xef\xbf\xbd";
  CHECK(escape(std::string("a\0b", 3)) == "a" + replaced + "b");
  CHECK(escape("\x1b[31m") == replaced + "[31m");
  CHECK(escape("\xff") == replaced);
  CHECK(escape("\xc0\xaf") == replaced + replaced);                 // overlong '/'
  CHECK(escape("\xed\xa0\x80") == replaced + replaced + replaced);  // surrogate
  CHECK(escape("\xf4\x90\x80\x80").size() == 4 * 3);                // beyond U+10FFFF
  CHECK(escape("ab\xe2\x82") == "ab" + replaced + replaced);        // cut off
  CHECK(escape("\xef\xbf\xbf") == replaced);                        // U+FFFF
}

TEST_CASE("numbers read as people write them") {
  CHECK(number(0) == "0");
  CHECK(number(-0.0) == "0");
  CHECK(number(86) == "86");
  CHECK(number(0.1) == "0.1");
  CHECK(number(12.3456, 3) == "12.3");
  CHECK(number(9.9996, 4) == "10");
  CHECK(number(-2.5) == "−2.5");
  CHECK(number(1234567, 3) == "1234567");
  CHECK(number(3e-7, 3) == "3·10⁻⁷");
  CHECK(number(1.26e12, 2) == "1.3·10¹²");
  CHECK(number(std::nan("")) == "not a number");
  CHECK(number(-std::numeric_limits<double>::infinity()) == "−infinity");
}

TEST_CASE("a standalone figure carries its namespace and style sheet") {
  const auto document = foresight::viz::standalone({"<svg class=\"fs-figure\"><g/></svg>"});
  CHECK(foresight::test::markup_problem(document).empty());
  CHECK(document.find("xmlns=\"http://www.w3.org/2000/svg\"") != std::string::npos);
  CHECK(document.find("prefers-color-scheme:dark") != std::string::npos);
}

TEST_CASE("every colour variable that is used has a value in both colour schemes") {
  const std::string css(foresight::viz::theme_css());
  const auto dark = css.find("@media(prefers-color-scheme:dark)");
  REQUIRE(dark != std::string::npos);
  const auto light_part = css.substr(0, dark), dark_part = css.substr(dark);
  int used = 0;
  for (auto at = css.find("var("); at != std::string::npos; at = css.find("var(", at + 1)) {
    const auto name = css.substr(at + 4, css.find(')', at) - at - 4);
    if (name == "--fs-c") continue;  // set by the fs-m classes
    ++used;
    INFO(name);
    CHECK(light_part.find(name + ":#") != std::string::npos);
    CHECK(dark_part.find(name + ":#") != std::string::npos);
  }
  CHECK(used > 30);
}

}  // namespace foresight::viz::markup_test
