// SPDX-License-Identifier: Apache-2.0
// Sums of products for processors with AVX-512: twelve rows with two panels, channel by channel in
// the order of packed_product.inl, so that results are the same bit for bit. Registers of 512 bits
// appear in assembly alone; all else stays compiled for AVX2, where nothing is fused by the
// compiler. Included as packed_product.inl is, after it.

constexpr int64_t kTallRows = 2 * kRows;

// 24 sums in registers 8 to 31. MULTIPLY: sums += row's numbers * panel's.
#define FORESIGHT_WIDE_ROW(BROADCAST, MULTIPLY, ADDRESS, LEFT, RIGHT) \
  BROADCAST " " ADDRESS                                               \
            ", %%zmm2\n\t" MULTIPLY " %%zmm0, %%zmm2, %%zmm" LEFT     \
            "\n\t" MULTIPLY " %%zmm1, %%zmm2, %%zmm" RIGHT "\n\t"
#define FORESIGHT_WIDE_ROWS(B, M, A, BASE, L1, R1, L2, R2, L3, R3) \
  FORESIGHT_WIDE_ROW(B, M, A "(%[" BASE "])", L1, R1)              \
  FORESIGHT_WIDE_ROW(B, M, A "(%[" BASE "],%[step])", L2, R2)      \
  FORESIGHT_WIDE_ROW(B, M, A "(%[" BASE "],%[step],2)", L3, R3)
// One number of a row as MULTIPLY takes it, A bytes from its start; panels' at P bytes.
#define FORESIGHT_WIDE_STEP(B, M, A, P)                                             \
  "vmovups " P "(%[left]), %%zmm0\n\t"                                              \
  "vmovups " P "(%[right]), %%zmm1\n\t"                                             \
  FORESIGHT_WIDE_ROWS(B, M, A, "first", "8", "9", "10", "11", "12", "13")           \
  FORESIGHT_WIDE_ROWS(B, M, A, "second", "14", "15", "16", "17", "18", "19")        \
  FORESIGHT_WIDE_ROWS(B, M, A, "third", "20", "21", "22", "23", "24", "25")         \
  FORESIGHT_WIDE_ROWS(B, M, A, "fourth", "26", "27", "28", "29", "30", "31")
#define FORESIGHT_ZERO(N) "vpxord %%zmm" N ", %%zmm" N ", %%zmm" N "\n\t"
#define FORESIGHT_KEEP(N, AT) "vmovups %%zmm" N ", " AT "(%[sums])\n\t"
// Without AVX-512 in its options a compiler knows no registers above 15 that it could lose.
#ifdef __AVX512F__
#define FORESIGHT_UPPER_REGISTERS                                                             \
  "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", \
      "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",
#else
#define FORESIGHT_UPPER_REGISTERS
#endif
// BODY: four channels, of ROW_BYTES a row.
#define FORESIGHT_WIDE_TILE(BODY, ROW_BYTES, PANEL_BYTES)                                      \
  asm volatile(                                                                                \
      FORESIGHT_ZERO("8") FORESIGHT_ZERO("9") FORESIGHT_ZERO("10") FORESIGHT_ZERO("11")        \
      FORESIGHT_ZERO("12") FORESIGHT_ZERO("13") FORESIGHT_ZERO("14") FORESIGHT_ZERO("15")      \
      FORESIGHT_ZERO("16") FORESIGHT_ZERO("17") FORESIGHT_ZERO("18") FORESIGHT_ZERO("19")      \
      FORESIGHT_ZERO("20") FORESIGHT_ZERO("21") FORESIGHT_ZERO("22") FORESIGHT_ZERO("23")      \
      FORESIGHT_ZERO("24") FORESIGHT_ZERO("25") FORESIGHT_ZERO("26") FORESIGHT_ZERO("27")      \
      FORESIGHT_ZERO("28") FORESIGHT_ZERO("29") FORESIGHT_ZERO("30") FORESIGHT_ZERO("31")      \
      ".p2align 5\n\t"                                                                         \
      "1:\n\t"                                                                                 \
      BODY                                                                                     \
      "add $" ROW_BYTES ", %[first]\n\t"                                                       \
      "add $" ROW_BYTES ", %[second]\n\t"                                                      \
      "add $" ROW_BYTES ", %[third]\n\t"                                                       \
      "add $" ROW_BYTES ", %[fourth]\n\t"                                                      \
      "add $" PANEL_BYTES ", %[left]\n\t"                                                      \
      "add $" PANEL_BYTES ", %[right]\n\t"                                                     \
      "dec %[quads]\n\t"                                                                       \
      "jnz 1b\n\t"                                                                             \
      FORESIGHT_KEEP("8", "0") FORESIGHT_KEEP("9", "64") FORESIGHT_KEEP("10", "128")           \
      FORESIGHT_KEEP("11", "192") FORESIGHT_KEEP("12", "256") FORESIGHT_KEEP("13", "320")      \
      FORESIGHT_KEEP("14", "384") FORESIGHT_KEEP("15", "448") FORESIGHT_KEEP("16", "512")      \
      FORESIGHT_KEEP("17", "576") FORESIGHT_KEEP("18", "640") FORESIGHT_KEEP("19", "704")      \
      FORESIGHT_KEEP("20", "768") FORESIGHT_KEEP("21", "832") FORESIGHT_KEEP("22", "896")      \
      FORESIGHT_KEEP("23", "960") FORESIGHT_KEEP("24", "1024") FORESIGHT_KEEP("25", "1088")    \
      FORESIGHT_KEEP("26", "1152") FORESIGHT_KEEP("27", "1216") FORESIGHT_KEEP("28", "1280")   \
      FORESIGHT_KEEP("29", "1344") FORESIGHT_KEEP("30", "1408") FORESIGHT_KEEP("31", "1472")   \
      : [first] "+&r"(first), [second] "+&r"(second), [third] "+&r"(third),                    \
        [fourth] "+&r"(fourth), [left] "+&r"(left), [right] "+&r"(right), [quads] "+&r"(quads) \
      : [step] "r"(bytes), [sums] "r"(sums)                                                    \
      : FORESIGHT_UPPER_REGISTERS "xmm0", "xmm1", "xmm2", "xmm8", "xmm9", "xmm10", "xmm11",    \
        "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc")

// sums[kTallRows][2 * kColumns] of rows `step` numbers apart and two panels, over 4 * quads channels.
inline void multiply_wide_tile(const std::int16_t* first, int64_t step, const std::int16_t* left,
                               const std::int16_t* right, int64_t quads, std::int32_t* sums) {
  const auto *second = first + 3 * step, *third = second + 3 * step, *fourth = third + 3 * step;
  const auto bytes = step * static_cast<int64_t>(sizeof(*first));
  FORESIGHT_WIDE_TILE(FORESIGHT_WIDE_STEP("vpbroadcastd", "vpdpwssd", "0", "0")
                          FORESIGHT_WIDE_STEP("vpbroadcastd", "vpdpwssd", "4", "64"),
                      "8", "128");
}
inline void multiply_wide_tile(const float* first, int64_t step, const float* left,
                               const float* right, int64_t quads, float* sums) {
  const auto *second = first + 3 * step, *third = second + 3 * step, *fourth = third + 3 * step;
  const auto bytes = step * static_cast<int64_t>(sizeof(*first));
  FORESIGHT_WIDE_TILE(FORESIGHT_WIDE_STEP("vbroadcastss", "vfmadd231ps", "0", "0")
                          FORESIGHT_WIDE_STEP("vbroadcastss", "vfmadd231ps", "4", "64")
                              FORESIGHT_WIDE_STEP("vbroadcastss", "vfmadd231ps", "8", "128")
                                  FORESIGHT_WIDE_STEP("vbroadcastss", "vfmadd231ps", "12", "192"),
                      "16", "256");
}

#undef FORESIGHT_WIDE_TILE
#undef FORESIGHT_UPPER_REGISTERS
#undef FORESIGHT_KEEP
#undef FORESIGHT_ZERO
#undef FORESIGHT_WIDE_STEP
#undef FORESIGHT_WIDE_ROWS
#undef FORESIGHT_WIDE_ROW
