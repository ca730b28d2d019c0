// Inside CTorch only: our own kernels on libtorch's own threads.
//
// at::parallel_for is a template that runs serially when the including file is compiled without OpenMP, as ours are. So
// the kernels enter the OpenMP runtime that libtorch has already loaded. Never a second runtime: two teams would fight
// for cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ctorch {

/// Threads that libtorch uses for one operation.
int thread_count();

/// Runs `region(context)` once on each of `threads` threads of libtorch's team, the calling thread included.
void run_team(void (*region)(void *), void *context, int threads);

/// Element operations that pay for waking one more thread: tens of microseconds. A team costs far more than that where
/// other programs use the cores, because its threads wait by spinning.
constexpr int64_t operations_per_thread = 65536;

/// Calls `body(task, thread)` for every task in `0 ..< count`; `operations` is about what one task does. Tasks are
/// taken in order by whichever thread is free, so a result is the same from run to run exactly when each task writes
/// only what is its own. `body` must not throw.
template <class Body>
void parallel_tasks(int64_t count, int64_t operations, const Body &body) {
    struct Context {
        std::atomic<int64_t> next{0};
        std::atomic<int> arrived{0};
        int64_t count;
        const Body *body;
    } context;
    context.count = count;
    context.body = &body;
    auto region = [](void *pointer) {
        auto &shared = *static_cast<Context *>(pointer);
        const int thread = shared.arrived.fetch_add(1);
        for (int64_t task = shared.next.fetch_add(1); task < shared.count; task = shared.next.fetch_add(1))
            (*shared.body)(task, thread);
    };
    const int64_t paying = std::max<int64_t>(1, count * operations / operations_per_thread);
    run_team(region, &context, static_cast<int>(std::min<int64_t>({thread_count(), count, paying})));
}

}  // namespace ctorch
