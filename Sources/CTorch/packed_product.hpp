// Inside CTorch only: products of rows with packed matrices.
//
// A matrix is packed as panels `[inputs, 32]`. Rows are turned, `[inputs, rows of a block]`, so that a block and a panel
// are multiplied with nothing but loads of neighbours: 32 weights times one number of each row.
#pragma once

#include <c10/core/Allocator.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "include/ctorch_packed.h"
#include "parallel.hpp"
#include "vectors.hpp"

namespace ctorch {

/// Numbers that nobody has written, from libtorch's allocator: what is as large as a prompt's products comes from memory that
/// was used before, where the C library would ask the system for new pages every time.
class Numbers {
  public:
    explicit Numbers(int64_t count)
        : memory_(c10::GetAllocator(c10::kCPU)->allocate(std::max<int64_t>(count, 1) * sizeof(float))) {}
    float *get() const { return static_cast<float *>(memory_.get()); }

  private:
    c10::DataPtr memory_;
};

/// Throws where a packed matrix is none that reads so many inputs.
void check_packed(const ctorch_packed_matrix &matrix, int64_t inputs);

constexpr int64_t panel_width = CTORCH_PANEL_WIDTH;
/// Inputs, at most, that are multiplied before the next rows take their turn: such a piece of a panel, 24 KiB of float32,
/// stays in the first cache while every block of rows is multiplied with it.
constexpr int64_t deepest = 192;

/// How deep the pieces of a panel are: all but the last the same.
inline int64_t depth_of(int64_t inputs) {
    const int64_t pieces = (inputs + deepest - 1) / deepest;
    return (inputs + pieces - 1) / pieces;
}
/// Rows whose sums are held in registers at a time.
constexpr int most_rows = 12;
/// Numbers of the rows that are multiplied with one panel: they stay in the second cache from panel to panel.
constexpr int64_t inputs_together = 192 << 10;

/// Sixteen stored weights.
template <class Weight>
struct Stored;
template <>
struct Stored<float> {
    typedef float Type __attribute__((vector_size(64), aligned(4)));
};
template <>
struct Stored<int8_t> {
    typedef int8_t Type __attribute__((vector_size(16), aligned(1)));
};

/// Sixteen stored weights as numbers.
template <class Weight>
CTORCH_INLINE void widen(const Weight *from, Lanes<float> &to) {
    typedef float Vector __attribute__((vector_size(64)));
    to = __builtin_convertvector(*reinterpret_cast<const typename Stored<Weight>::Type *>(from), Vector);
}

/// Weights that are fetched into the second cache while others are multiplied: `step` bytes with every input. Without it
/// the processor reads memory or multiplies, in turns.
struct Ahead {
    const char *at;
    int64_t step;
};

/// Adds the products of `count` inputs to the sums of `rows` rows and `16 · lanes` outputs of a panel.
///
/// `x` is `[count, rows]`, `sums` is `[rows, 32]`.
template <class Weight, int rows, int lanes>
CTORCH_INLINE void accumulate(const Weight *panel, const float *x, int64_t count, float *sums, Ahead ahead) {
#pragma clang fp contract(fast)
    Lanes<float> sum[rows][lanes];
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane)
            sum[row][lane] = *reinterpret_cast<Lanes<float> *>(sums + row * panel_width + lane * lane_count);
    for (int64_t i = 0; i < count; ++i) {
        // A panel's inputs are two lines of 64 bytes at most.
        __builtin_prefetch(ahead.at + i * ahead.step, 0, 2);
        __builtin_prefetch(ahead.at + i * ahead.step + ahead.step / 2, 0, 2);
        Lanes<float> weight[lanes];
        for (int lane = 0; lane < lanes; ++lane) widen(panel + i * panel_width + lane * lane_count, weight[lane]);
        for (int row = 0; row < rows; ++row)
            for (int lane = 0; lane < lanes; ++lane) sum[row][lane] += weight[lane] * x[i * rows + row];
    }
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane)
            *reinterpret_cast<Lanes<float> *>(sums + row * panel_width + lane * lane_count) = sum[row][lane];
}

/// With 32 registers of 16 numbers.
template <class Weight, int rows>
struct WholePanel {
    static CTORCH_INLINE void run(const Weight *panel, const float *x, int64_t count, float *sums, Ahead ahead) {
        accumulate<Weight, rows, 2>(panel, x, count, sums, ahead);
    }
};

/// With 16 registers of 8 numbers or fewer.
template <class Weight, int rows>
struct HalfPanels {
    static CTORCH_INLINE void run(const Weight *panel, const float *x, int64_t count, float *sums, Ahead ahead) {
        const Ahead first{ahead.at, ahead.step / 2}, second{ahead.at + count * first.step, first.step};
        accumulate<Weight, rows, 1>(panel, x, count, sums, first);
        accumulate<Weight, rows, 1>(panel + lane_count, x, count, sums + lane_count, second);
    }
};

template <class Weight>
using Kernel = void (*)(const Weight *, const float *, int64_t, float *, Ahead);

template <class Weight, int... rows>
Kernel<Weight> kernel(int64_t wanted, std::integer_sequence<int, rows...>) {
    // `kernels[n]` takes n + 1 rows.
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)
    static constexpr Kernel<Weight> wide[] = {
        run_avx512<WholePanel<Weight, rows + 1>, const Weight *, const float *, int64_t, float *, Ahead>...};
    static constexpr Kernel<Weight> narrow[] = {
        run_avx2<HalfPanels<Weight, rows + 1>, const Weight *, const float *, int64_t, float *, Ahead>...};
    if (instruction_set() == InstructionSet::avx512) return wide[wanted - 1];
    if (instruction_set() == InstructionSet::avx2) return narrow[wanted - 1];
#endif
    static constexpr Kernel<Weight> plain[] = {HalfPanels<Weight, rows + 1>::run...};
    return plain[wanted - 1];
}

/// The kernel for a number of rows, 1 to `most_rows`.
template <class Weight>
Kernel<Weight> kernel(int64_t rows) {
    return kernel<Weight>(rows, std::make_integer_sequence<int, most_rows>());
}

/// How many rows a kernel of this processor takes at most: its sums and two more numbers fill the registers.
inline int64_t rows_at_a_time() {
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)
    if (instruction_set() == InstructionSet::avx512) return most_rows;
#endif
    return most_rows / 2;
}

/// Weights in eight bits become numbers once for all blocks of rows.
struct WidenedPiece {
    static CTORCH_INLINE void run(const int8_t *from, int64_t count, float *to) {
        for (int64_t i = 0; i < count; i += lane_count) widen(from + i, *reinterpret_cast<Lanes<float> *>(to + i));
    }
};

/// What outputs are added to, and where the sums go: `[rows, outputs]` each.
struct Added {
    const float *to;
    float *sums;
};

/// The sums `[rows, 32]` of a whole panel, scaled and moved, become outputs from `column` on, and are added to others.
struct PanelOutputs {
    static CTORCH_INLINE void run(
        const float *sums, int64_t rows, const float *scales, const float *bias, float *const *outs, int64_t column,
        Added added, int64_t outputs) {
        const auto lanes = [](const float *at) -> const Lanes<float> & {
            return *reinterpret_cast<const Lanes<float> *>(at);
        };
        const auto write = [](float *at, const Lanes<float> &y) { *reinterpret_cast<Lanes<float> *>(at) = y; };
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t i = 0; i < panel_width; i += lane_count) {
                Lanes<float> y = lanes(sums + row * panel_width + i);
                if (scales) y *= lanes(scales + i);
                if (bias) y += lanes(bias + i);
                write(outs[row] + column + i, y);
                const int64_t at = row * outputs + column + i;
                if (added.to) write(added.sums + at, lanes(added.to + at) + y);
            }
    }
};

/// `[rows, inputs]`, of which a row begins `stride` numbers behind the one before, becomes `[inputs, rows]`, four by four;
/// the last four may be some of those before.
inline void turn(const float *x, int64_t rows, int64_t inputs, int64_t stride, float *to) {
    typedef float Four __attribute__((vector_size(16), aligned(4)));
    if (rows < 4 || inputs < 4) {
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t i = 0; i < inputs; ++i) to[i * rows + row] = x[row * stride + i];
        return;
    }
    for (int64_t next_row = 0; next_row < rows; next_row += 4) {
        const int64_t row = std::min(next_row, rows - 4);
        for (int64_t next = 0; next < inputs; next += 4) {
            const int64_t i = std::min(next, inputs - 4);
            const auto read = [&](int64_t one) -> const Four & {
                return *reinterpret_cast<const Four *>(x + (row + one) * stride + i);
            };
            const Four first = __builtin_shufflevector(read(0), read(1), 0, 4, 1, 5),
                       second = __builtin_shufflevector(read(2), read(3), 0, 4, 1, 5),
                       third = __builtin_shufflevector(read(0), read(1), 2, 6, 3, 7),
                       fourth = __builtin_shufflevector(read(2), read(3), 2, 6, 3, 7);
            const auto write = [&](int64_t one) -> Four & { return *reinterpret_cast<Four *>(to + (i + one) * rows + row); };
            write(0) = __builtin_shufflevector(first, second, 0, 1, 4, 5);
            write(1) = __builtin_shufflevector(first, second, 2, 3, 6, 7);
            write(2) = __builtin_shufflevector(third, fourth, 0, 1, 4, 5);
            write(3) = __builtin_shufflevector(third, fourth, 2, 3, 6, 7);
        }
    }
}

/// Rows cut into blocks of about one size, each with its inputs turned: `[inputs, rows of the block]`.
class Blocks {
  public:
    Blocks(int64_t rows, int64_t inputs)
        : rows_(rows), inputs_(inputs), count_((rows + rows_at_a_time() - 1) / rows_at_a_time()),
          turned_(rows * inputs) {}

    int64_t count() const { return count_; }
    int64_t start(int64_t block) const { return rows_ * block / count_; }
    int64_t height(int64_t block) const { return start(block + 1) - start(block); }
    const float *inputs(int64_t block, int64_t from) const {
        return turned_.get() + start(block) * inputs_ + from * height(block);
    }

    /// Some inputs of one block are a task; each number goes to a line that it shares with few others.
    int64_t tasks() const { return count_ * pieces(); }
    static constexpr int64_t inputs_of_task = 256, operations_of_number = 4;

    /// Writes the inputs of one task, for which `read(row, count, from, number)` says where `number` inputs of `count` rows
    /// from `row` on lie, and how far its rows are apart.
    template <class Read>
    void write(int64_t task, const Read &read) const {
        const int64_t block = task / pieces(), from = task % pieces() * inputs_of_task;
        const int64_t number = std::min(inputs_of_task, inputs_ - from);
        const auto [x, stride] = read(start(block), height(block), from, number);
        turn(x, height(block), number, stride, turned_.get() + start(block) * inputs_ + from * height(block));
    }

    /// Writes all inputs of one block, from `[rows of the block, inputs]`.
    void write_whole(int64_t block, const float *x) const {
        turn(x, height(block), inputs_, inputs_, turned_.get() + start(block) * inputs_);
    }

  private:
    int64_t pieces() const { return (inputs_ + inputs_of_task - 1) / inputs_of_task; }

    int64_t rows_, inputs_, count_;
    Numbers turned_;
};

/// A packed matrix as its elements lie, and where each row's outputs go.
template <class Weight>
struct Part {
    const Weight *packed;
    const float *scales, *bias;
    int64_t outputs;
    float *const *rows;
    Added added = {};

    int64_t panels() const { return (outputs + panel_width - 1) / panel_width; }
};

/// The product of blocks of rows with every part; the panels of all parts are cut among the threads as if they were one
/// matrix. A task multiplies some blocks with one panel.
template <class Weight>
class Product {
  public:
    Product(const Blocks &blocks, std::vector<Part<Weight>> parts, int64_t inputs, int64_t threads)
        : blocks_(blocks), parts_(std::move(parts)), inputs_(inputs), threads_(threads), depth_(depth_of(inputs)),
          together_(std::clamp<int64_t>(inputs_together / (most_rows * inputs), 4, 32)),
          height_(most_rows * std::min(together_, blocks.count())), groups_((blocks.count() + together_ - 1) / together_),
          memory_(threads * own()) {
        for (const auto &part : parts_) panels_ += part.panels();
    }

    int64_t count() const { return groups_ * panels_; }
    /// About what one task does.
    int64_t operations() const { return height_ * inputs_ * panel_width; }

    void operator()(int64_t task, int thread) const {
        const auto [part, panel] = found(task);
        const int64_t first_block = task / panels_ * together_;
        const int64_t last_block = std::min(first_block + together_, blocks_.count());
        const int64_t top = blocks_.start(first_block), rows = blocks_.start(last_block) - top;
        float *sums = memory_.get() + thread * own(), *widened = sums + height_ * panel_width;
        std::fill_n(sums, rows * panel_width, 0.0f);
        // What this thread multiplies next.
        const auto [next_part, next_panel] = found(std::min(task + threads_, count() - 1));
        const int64_t column = panel * panel_width, width = std::min(panel_width, part->outputs - column);
        const int64_t step = panel_width * sizeof(Weight) / (last_block - first_block);
        for (int64_t from = 0; from < inputs_; from += depth_) {
            const int64_t count = std::min(depth_, inputs_ - from), next_from = from + count;
            const Weight *piece = elements(*part, panel) + from * panel_width;
            const Weight *next =
                next_from < inputs_ ? piece + count * panel_width : elements(*next_part, next_panel);
            Ahead ahead{reinterpret_cast<const char *>(next), step};
            const auto multiplied = [&](const auto *weights) {
                for (int64_t block = first_block; block < last_block; ++block, ahead.at += count * step) {
                    const int64_t row = blocks_.start(block), height = blocks_.height(block);
                    float *const of_block = sums + (row - top) * panel_width;
                    if (next_from == inputs_) fetch(*part, row, height, column, width);
                    kernel<std::remove_cvref_t<decltype(*weights)>>(height)(
                        weights, blocks_.inputs(block, from), count, of_block, ahead);
                    if (next_from == inputs_) write(*part, row, height, column, width, of_block);
                }
            };
            if constexpr (std::is_same_v<Weight, int8_t>) {
                if (last_block - first_block > 1) {
                    dispatch<WidenedPiece>(piece, count * panel_width, widened);
                    multiplied(static_cast<const float *>(widened));
                    continue;
                }
            }
            multiplied(piece);
        }
    }

  private:
    /// Outputs that are in no cache when they are written would be waited for: they come while their sums are made.
    static void fetch(const Part<Weight> &part, int64_t top, int64_t rows, int64_t column, int64_t width) {
        const auto ask = [&](const float *at) {
            __builtin_prefetch(at, 1);
            __builtin_prefetch(at + width - 1, 1);
        };
        for (int64_t row = top; row < top + rows; ++row) {
            ask(part.rows[row] + column);
            if (part.added.to) ask(part.added.sums + row * part.outputs + column);
        }
    }

    static void write(
        const Part<Weight> &part, int64_t top, int64_t rows, int64_t column, int64_t width, const float *sums) {
        const float *scales = part.scales ? part.scales + column : nullptr, *bias = part.bias ? part.bias + column : nullptr;
        float *const *outs = part.rows + top;
        Added added = part.added;
        if (added.to) added = {added.to + top * part.outputs, added.sums + top * part.outputs};
        if (width == panel_width) {
            dispatch<PanelOutputs>(sums, rows, scales, bias, outs, column, added, part.outputs);
            return;
        }
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t i = 0; i < width; ++i) {
                const float y = sums[row * panel_width + i] * (scales ? scales[i] : 1) + (bias ? bias[i] : 0);
                const int64_t at = row * part.outputs + column + i;
                outs[row][column + i] = y;
                if (added.to) added.sums[at] = added.to[at] + y;
            }
    }

    /// As long as the threads take turns, each of them has panels that lie one behind the other.
    std::pair<const Part<Weight> *, int64_t> found(int64_t task) const {
        const int64_t number = task % panels_, turn = number % threads_;
        int64_t panel = turn * (panels_ / threads_) + std::min(turn, panels_ % threads_) + number / threads_;
        const Part<Weight> *part = parts_.data();
        for (; panel >= part->panels(); ++part) panel -= part->panels();
        return {part, panel};
    }

    const Weight *elements(const Part<Weight> &part, int64_t panel) const {
        return part.packed + panel * inputs_ * panel_width;
    }
    /// Numbers of a thread: the sums of a task, and a piece of a panel.
    int64_t own() const { return (height_ + depth_) * panel_width; }

    const Blocks &blocks_;
    std::vector<Part<Weight>> parts_;
    int64_t inputs_, threads_, depth_, together_, height_, groups_, panels_ = 0;
    Numbers memory_;
};

}  // namespace ctorch
