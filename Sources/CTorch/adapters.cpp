// The gradients of low-rank updates. Each is a product with a matrix of 16 or so columns, which as a product of its own
// reads the tokens' numbers from memory once more, and waits for them. Here all that is asked for is made of a tile of tokens
// while it is in the cache. (Behind a gated activation this takes two passes, because the input is not there in the first.)
#include "adapters.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "parallel.hpp"
#include "row_sums.hpp"

namespace ctorch {
namespace {

/// Tokens of a tile: of matrices up to some 6,000 inputs and outputs their numbers stay in the second cache.
constexpr int64_t tile_tokens = 64;
/// Blocks of tokens whose gradients are added up apart: as many with any number of threads, so that sums repeat to the bit.
constexpr int64_t most_blocks = 16;
/// Ranks of one input's adapters, at most. Wider ones are no narrow products, and a block's sums are as large as they are.
constexpr int64_t most_ranks = 128;

int64_t padded(int64_t columns) { return (columns + lane_count - 1) / lane_count * lane_count; }

/// sums[row] (+)= Σᵢ x(row, i) · matrix[i], 16 · `lanes` columns of it, where x(row, i) is `x[row · step + i]`, or
/// `x[i · step + row]` where it is turned.
template <bool turned, int rows, int lanes>
struct NarrowProduct {
    static CTORCH_INLINE void run(
        const float *x, int64_t step, const float *matrix, int64_t matrix_step, int64_t count, float *sums,
        int64_t sums_step, int64_t all, bool adds) {
        const int64_t across = turned ? 1 : step, along = turned ? step : 1;
        int64_t row = 0;
        for (; row + rows <= all; row += rows)
            accumulate_rows<rows, lanes, !turned>(
                x + row * across, across, along, matrix, matrix_step, count, sums + row * sums_step, sums_step, adds);
        for (; row < all; ++row)
            accumulate_rows<1, lanes>(
                x + row * across, across, along, matrix, matrix_step, count, sums + row * sums_step, sums_step, adds);
    }
};

/// Of all columns, a multiple of 16 of them.
template <bool turned>
void multiply(
    const float *x, int64_t step, const float *matrix, int64_t matrix_step, int64_t columns, int64_t count, float *sums,
    int64_t sums_step, int64_t all, bool adds) {
    for (int64_t column = 0; column < columns;) {
        const float *const from = matrix + column;
        float *const to = sums + column;
        column += lane_count;
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)
        // With 32 registers of 16 numbers, or 16 of 8.
        if (instruction_set() == InstructionSet::avx512) {
            if (column < columns) {
                column += lane_count;
                run_avx512<NarrowProduct<turned, 8, 2>>(
                    x, step, from, matrix_step, count, to, sums_step, all, adds);
            } else {
                run_avx512<NarrowProduct<turned, 16, 1>>(
                    x, step, from, matrix_step, count, to, sums_step, all, adds);
            }
            continue;
        }
#endif
        dispatch<NarrowProduct<turned, 6, 1>>(x, step, from, matrix_step, count, to, sums_step, all, adds);
    }
}

/// A matrix, [rows, columns], with zeros that fill its columns up.
at::Tensor widened(const at::Tensor &matrix) {
    at::Tensor wide = at::zeros({matrix.size(0), padded(matrix.size(1))}, matrix.options());
    wide.narrow(1, 0, matrix.size(1)).copy_(matrix);
    return wide;
}

/// One matrix with its adapter, as its numbers lie.
struct Adapter {
    const float *gradient;
    at::Tensor wide_up;
    int64_t outputs, rank, columns;
    /// Where its numbers begin: among the narrow ones of a token, and among what a block adds up.
    int64_t first, sums;
};

AdapterGradients in_tiles(
    const std::vector<at::Tensor> &gradients, const at::Tensor &x, const at::Tensor &down, const at::Tensor *ups,
    double scale) {
    const int64_t tokens = gradients[0].size(0), inputs = down.size(1), ranks = down.size(0), columns = padded(ranks);
    std::vector<Adapter> adapters;
    int64_t first = 0, numbers = inputs * columns, widest = 0;
    for (size_t i = 0; i < gradients.size(); ++i) {
        const int64_t outputs = gradients[i].size(1), rank = ups[i].size(1), own = padded(rank);
        adapters.push_back(
            {gradients[i].const_data_ptr<float>(), widened(ups[i]), outputs, rank, own, first, numbers});
        first += rank;
        numbers += outputs * own;
        widest = std::max(widest, own);
    }
    const bool reads_input = x.defined();
    const at::Tensor wide_down = reads_input ? widened(down.t()) : at::Tensor();
    // Where nothing is added up, each tile is a block.
    const int64_t tiles = (tokens + tile_tokens - 1) / tile_tokens, threads = thread_count(),
                  blocks = reads_input ? std::min(tiles, most_blocks) : tiles;
    AdapterGradients found{at::empty({tokens, ranks}, down.options()), {}, {}};
    at::Tensor by_block = at::empty({blocks, reads_input ? numbers : 0}, down.options());
    const float *const input = reads_input ? x.const_data_ptr<float>() : nullptr,
                *const read = reads_input ? wide_down.const_data_ptr<float>() : nullptr;
    float *const narrow = found.by_narrow.mutable_data_ptr<float>(), *const sums = by_block.mutable_data_ptr<float>();
    // Of a thread: x·Aᵀ and t of a tile, each with room for the columns that fill the last adapter's up, and one adapter's t.
    const int64_t step = columns + widest, of_thread = tile_tokens * (2 * step + widest);
    const at::Tensor memory = at::zeros({threads * of_thread}, down.options());
    float *const of_threads = memory.mutable_data_ptr<float>();
    int64_t outputs = 0;
    for (const Adapter &one : adapters) outputs += one.outputs * one.columns;
    const auto factor = static_cast<float>(scale);
    parallel_tasks(blocks, tokens / blocks * (outputs + inputs * columns) / 4, [&](int64_t block, int thread) {
        float *const read_tile = of_threads + thread * of_thread, *const narrow_tile = read_tile + tile_tokens * step,
                     *const own = narrow_tile + tile_tokens * step, *const block_sums = sums + block * numbers;
        const int64_t start = tokens * block / blocks, end = tokens * (block + 1) / blocks;
        for (int64_t token = start; token < end; token += tile_tokens) {
            const int64_t rows = std::min(tile_tokens, end - token);
            const bool adds = token > start;
            if (input)
                multiply<false>(input + token * inputs, inputs, read, columns, columns, inputs, read_tile, step, rows, false);
            for (const Adapter &one : adapters) {
                const float *const gradient = one.gradient + token * one.outputs;
                multiply<false>(
                    gradient, one.outputs, one.wide_up.const_data_ptr<float>(), one.columns, one.columns, one.outputs, own,
                    one.columns, rows, false);
                for (int64_t row = 0; row < rows; ++row)
                    for (int64_t i = 0; i < one.rank; ++i) {
                        const float number = own[row * one.columns + i] * factor;
                        narrow_tile[row * step + one.first + i] = number;
                        narrow[(token + row) * ranks + one.first + i] = number;
                    }
                if (!input) continue;
                multiply<true>(
                    gradient, one.outputs, read_tile + one.first, step, one.columns, rows, block_sums + one.sums,
                    one.columns, one.outputs, adds);
            }
            if (input)
                multiply<true>(
                    input + token * inputs, inputs, narrow_tile, step, columns, rows, block_sums, columns, inputs, adds);
        }
    });
    if (!reads_input) return found;
    const at::Tensor all = by_block.sum(0);
    const auto part = [&](int64_t start, int64_t rows, int64_t width, int64_t wanted) {
        return all.narrow(0, start, rows * width).view({rows, width}).narrow(1, 0, wanted);
    };
    found.by_down = part(0, inputs, columns, ranks).t().contiguous();
    for (const Adapter &one : adapters)
        found.by_up.push_back(part(one.sums, one.outputs, one.columns, one.rank) * scale);
    return found;
}

}  // namespace

AdapterGradients adapter_gradients(
    const std::vector<at::Tensor> &gradients, const at::Tensor &x, const at::Tensor &down, const at::Tensor *ups,
    double scale) {
    if (down.is_cpu() && down.scalar_type() == at::kFloat && gradients[0].numel() > 0 && down.size(0) <= most_ranks)
        return in_tiles(gradients, x, down, ups, scale);
    AdapterGradients found{at::empty({gradients[0].size(0), down.size(0)}, down.options()), {}, {}};
    const at::Tensor narrow = x.defined() ? at::mm(x, down.t()) : at::Tensor();
    int64_t first = 0;
    for (size_t i = 0; i < gradients.size(); first += ups[i++].size(1)) {
        at::Tensor part = found.by_narrow.narrow(1, first, ups[i].size(1));
        at::mm_out(part, gradients[i], ups[i] * scale);
        if (x.defined())
            found.by_up.push_back(at::mm(gradients[i].t(), narrow.narrow(1, first, ups[i].size(1))).mul_(scale));
    }
    if (x.defined()) found.by_down = at::mm(found.by_narrow.t(), x);
    return found;
}

}  // namespace ctorch
