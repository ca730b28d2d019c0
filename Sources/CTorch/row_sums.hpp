// Inside CTorch only: the loop in which products with narrow matrices are made.
#pragma once

#include <cstdint>

#include "vectors.hpp"

namespace ctorch {

/// sums[row][0 ..< 16 · lanes] (+)= Σᵢ x[row · across + i · along] · matrix[i · step + (0 ..< 16 · lanes)]
///
/// All sums are held in registers; of the distances those that a caller knows are folded into the addresses. What `fetches`
/// has the 16 rows behind these come into the second cache meanwhile.
template <int rows, int lanes, bool fetches = false>
CTORCH_INLINE void accumulate_rows(
    const float *x, int64_t across, int64_t along, const float *matrix, int64_t step, int64_t count, float *sums,
    int64_t sums_step, bool adds) {
#pragma clang fp contract(fast)
    Lanes<float> sum[rows][lanes];
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane) {
            sum[row][lane] = Lanes<float>{};
            if (adds) sum[row][lane] = *reinterpret_cast<Lanes<float> *>(sums + row * sums_step + lane * lane_count);
        }
    for (int64_t i = 0; i < count; ++i) {
        // One line of 16 numbers of one row with every i.
        if (fetches) __builtin_prefetch(x + (rows + i % lane_count) * across + i / lane_count * lane_count, 0, 2);
        Lanes<float> factor[lanes];
        for (int lane = 0; lane < lanes; ++lane)
            factor[lane] = *reinterpret_cast<const Lanes<float> *>(matrix + i * step + lane * lane_count);
        for (int row = 0; row < rows; ++row)
            for (int lane = 0; lane < lanes; ++lane) sum[row][lane] += factor[lane] * x[row * across + i * along];
    }
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane)
            *reinterpret_cast<Lanes<float> *>(sums + row * sums_step + lane * lane_count) = sum[row][lane];
}

}  // namespace ctorch
