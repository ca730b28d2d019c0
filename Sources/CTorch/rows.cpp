// Rows of several tensors, kept side by side in matrices that other rows come and go in.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "include/ctorch_index.h"
#include "parallel.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

/// A flat tensor [rows, width] and where its columns lie in a kept row.
struct Columns {
    at::Tensor flat;
    int64_t first;
};

/// The tensors of a pass, whose widths side by side are those of a kept row.
std::vector<Columns> side_by_side(const std::vector<at::Tensor> &flats) {
    TORCH_CHECK(!flats.empty(), "rows of no tensor");
    std::vector<Columns> columns;
    int64_t width = 0;
    for (const at::Tensor &flat : flats) {
        TORCH_CHECK(
            flat.dim() == 2 && flat.size(0) == flats[0].size(0) && flat.scalar_type() == flats[0].scalar_type() &&
                flat.device() == flats[0].device(),
            "rows of ", flats[0].toString(), " ", flats[0].sizes(), " and of ", flat.toString(), " ", flat.sizes());
        columns.push_back({flat.stride(1) == 1 ? flat : flat.contiguous(), width});
        width += flat.size(1);
    }
    return columns;
}

void check(const std::vector<Columns> &columns, const ctorch_row_run *runs, ptrdiff_t count) {
    const at::Tensor &flat = columns[0].flat;
    const int64_t width = columns.back().first + columns.back().flat.size(1);
    int64_t rows = 0;
    for (const ctorch_row_run *run = runs; run < runs + count; ++run) {
        TORCH_CHECK(run->count >= 0, "a run of ", run->count, " rows");
        rows += run->count;
        if (!run->matrix) continue;
        const at::Tensor &matrix = unwrap(run->matrix);
        TORCH_CHECK(
            matrix.dim() == 2 && matrix.is_contiguous() && matrix.scalar_type() == flat.scalar_type() &&
                matrix.device() == flat.device() && matrix.size(1) == width && run->first >= 0 &&
                run->first + run->count <= matrix.size(0),
            "a ", matrix.toString(), " ", matrix.sizes(), " has no rows ", run->first, " to ", run->first + run->count,
            " of ", width, " ", flat.toString());
    }
    TORCH_CHECK(rows == flat.size(0), "runs of ", rows, " rows for tensors of ", flat.size(0));
}

/// Copies every row to where it is kept, or back; zeros come from rows that are kept nowhere.
void copy(const std::vector<Columns> &columns, const ctorch_row_run *runs, ptrdiff_t count, bool stores) {
    check(columns, runs, count);
    const at::Tensor &any = columns[0].flat;
    /// Some rows of a run.
    struct Task {
        const at::Tensor *matrix;
        int64_t kept, row, count;
    };
    const int64_t together = any.is_cpu() ? 16 : any.size(0);
    std::vector<Task> tasks;
    int64_t row = 0;
    for (const ctorch_row_run *run = runs; run < runs + count; ++run) {
        const at::Tensor *matrix = run->matrix ? &unwrap(run->matrix) : nullptr;
        for (int64_t done = 0; done < run->count; done += together)
            tasks.push_back({matrix, run->first + done, row + done, std::min(together, run->count - done)});
        row += run->count;
    }
    if (!any.is_cpu()) {
        for (const Task &task : tasks) {
            for (const auto &[flat, first] : columns) {
                at::Tensor here = flat.narrow(0, task.row, task.count);
                if (!task.matrix) {
                    if (!stores) here.zero_();
                    continue;
                }
                at::Tensor there = task.matrix->narrow(0, task.kept, task.count).narrow(1, first, flat.size(1));
                stores ? there.copy_(here) : here.copy_(there);
            }
        }
        return;
    }
    const int64_t size = any.element_size(), row_bytes = (columns.back().first + columns.back().flat.size(1)) * size;
    const int64_t of_task = tasks.empty() ? 0 : any.size(0) * row_bytes / static_cast<int64_t>(tasks.size());
    parallel_tasks(static_cast<int64_t>(tasks.size()), of_task, [&](int64_t index, int) {
        const Task &task = tasks[index];
        char *kept = task.matrix ? static_cast<char *>(task.matrix->data_ptr()) + task.kept * row_bytes : nullptr;
        for (int64_t i = 0; i < task.count; ++i) {
            for (const auto &[flat, first] : columns) {
                char *here = static_cast<char *>(flat.data_ptr()) + (task.row + i) * flat.stride(0) * size;
                const size_t width = flat.size(1) * size;
                if (!kept) {
                    if (!stores) std::memset(here, 0, width);
                    continue;
                }
                char *there = kept + i * row_bytes + first * size;
                stores ? std::memcpy(there, here, width) : std::memcpy(here, there, width);
            }
        }
    });
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" {

ctorch_status ctorch_store_rows(
    const ctorch_tensor *sources, ptrdiff_t source_count, const ctorch_row_run *runs, ptrdiff_t run_count) {
    return guarded([&] {
        const at::NoGradGuard unrecorded;
        copy(side_by_side(unwrap_list(sources, source_count)), runs, run_count, /*stores=*/true);
    });
}

ctorch_status ctorch_collect_rows(
    const ctorch_row_run *runs, ptrdiff_t run_count, const ptrdiff_t *widths, ptrdiff_t width_count, ctorch_tensor like,
    ctorch_tensor *outs) {
    return guarded([&] {
        const at::NoGradGuard unrecorded;
        int64_t rows = 0;
        for (const ctorch_row_run *run = runs; run < runs + run_count; ++run) rows += run->count;
        std::vector<at::Tensor> flats;
        for (ptrdiff_t i = 0; i < width_count; ++i)
            flats.push_back(at::empty({rows, widths[i]}, unwrap(like).options().requires_grad(false)));
        copy(side_by_side(flats), runs, run_count, /*stores=*/false);
        wrap_list(flats, outs);
    });
}

}  // extern "C"
