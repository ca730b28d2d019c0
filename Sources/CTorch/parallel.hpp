// Inside CTorch only: our own kernels on libtorch's own threads.
//
// at::parallel_for is a template that runs serially when the including file is compiled without OpenMP, as ours are. So
// the kernels enter the OpenMP runtime that libtorch has already loaded. Never a second runtime: two teams would fight
// for cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <tuple>

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

/// Spins until `done()`, and lets others have the processor when that takes long.
template <class Done>
void wait_until(const Done &done) {
    for (int spins = 0; !done(); ++spins) {
        if (spins < 20'000) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        } else {
            std::this_thread::yield();
        }
    }
}

/// Tasks of which none may begin before all of the phase before have ended: `count` of them, each `body(task, thread)`.
template <class Body>
struct Phase {
    int64_t count;
    const Body &body;
};

/// Runs phases one after the other in one team; `operations` is about what all of them do. A phase whose tasks have all
/// been taken is waited for by spinning: between phases no thread is woken. Tasks as in ``parallel_tasks``.
template <class... Bodies>
void parallel_phases(int64_t operations, const Phase<Bodies> &...phases) {
    /// Tasks that were taken and that have ended, on a line of the cache that no other phase writes.
    struct alignas(64) Progress {
        std::atomic<int64_t> taken{0}, ended{0};
    };
    struct Context {
        Progress progress[sizeof...(Bodies)];
        std::atomic<int> arrived{0};
        const std::tuple<const Phase<Bodies> &...> phases;
    } context{.progress = {}, .arrived = 0, .phases = {phases...}};
    const auto region = [](void *pointer) {
        auto &shared = *static_cast<Context *>(pointer);
        const int thread = shared.arrived.fetch_add(1);
        Progress *progress = shared.progress;
        const auto run = [&](const auto &phase) {
            int64_t own = 0;
            for (int64_t task; (task = progress->taken.fetch_add(1)) < phase.count; ++own) phase.body(task, thread);
            progress->ended.fetch_add(own, std::memory_order_release);
            wait_until([&] { return progress->ended.load(std::memory_order_acquire) == phase.count; });
            ++progress;
        };
        std::apply([&](const auto &...phase) { (run(phase), ...); }, shared.phases);
    };
    const int64_t most = std::max({phases.count...}), paying = std::max<int64_t>(1, operations / operations_per_thread);
    run_team(region, &context, static_cast<int>(std::min<int64_t>({thread_count(), most, paying})));
}

}  // namespace ctorch
