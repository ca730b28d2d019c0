// c10d's TCPStore and Gloo process group, as libtorch_cpu carries them.
#include "support.hpp"

#include "include/ctorch_collective.h"

#define USE_C10D_GLOO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#pragma GCC diagnostic pop
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/util/Logging.h>

#include <algorithm>
#include <chrono>
#include <string>

using namespace ctorch;

namespace {
using Group = c10::intrusive_ptr<c10d::ProcessGroupGloo>;

/// While it lives, libtorch logs nothing: a store that is not reached is logged at every try, with a C++ stack trace each,
/// beside the exception that says the same in one line.
class QuietLog {
    const int before = FLAGS_caffe2_log_level;

  public:
    QuietLog() { FLAGS_caffe2_log_level = std::max(before, 3); }  // GLOG_FATAL alone
    ~QuietLog() { FLAGS_caffe2_log_level = before; }
    QuietLog(const QuietLog &) = delete;
    QuietLog &operator=(const QuietLog &) = delete;
};

c10d::ProcessGroupGloo &unwrap_group(ctorch_group group) { return **reinterpret_cast<Group *>(group); }

/// Starts `begin(i, {tensor})` for every tensor, then waits for all. Gloo takes contiguous tensors alone.
template <class Begin>
void in_place(const ctorch_tensor *tensors, size_t count, Begin &&begin) {
    const at::NoGradGuard no_gradients;
    std::vector<at::Tensor> dense;
    std::vector<c10::intrusive_ptr<c10d::Work>> works;
    for (size_t i = 0; i < count; ++i) {
        dense.push_back(unwrap(tensors[i]).contiguous());
        std::vector<at::Tensor> one{dense.back()};
        works.push_back(begin(i, one));
    }
    for (size_t i = 0; i < count; ++i) {
        works[i]->wait();
        if (!dense[i].is_same(unwrap(tensors[i]))) unwrap(tensors[i]).copy_(dense[i]);
    }
}
}  // namespace

ctorch_status ctorch_group_open(const char *host, uint16_t port, ptrdiff_t rank, ptrdiff_t size, bool store_is_served,
                                const char *name, ptrdiff_t timeout_ms, ctorch_group *out) {
    return guarded([&] {
        const QuietLog quiet;
        const std::chrono::milliseconds timeout(timeout_ms);
        c10d::TCPStoreOptions options;
        options.port = port;
        options.isServer = rank == 0 && !store_is_served;
        options.numWorkers = size;
        options.waitWorkers = false;
        options.timeout = timeout;
        auto store = c10::make_intrusive<c10d::TCPStore>(std::string(host), options);
        auto own = c10::make_intrusive<c10d::PrefixStore>(std::string(name), store);
        auto settings = c10d::ProcessGroupGloo::Options::create_default(timeout);
        auto made = c10::make_intrusive<c10d::ProcessGroupGloo>(own, static_cast<int>(rank), static_cast<int>(size),
                                                                settings);
        *out = reinterpret_cast<ctorch_group>(new Group(std::move(made)));
    });
}

void ctorch_group_close(ctorch_group group) { delete reinterpret_cast<Group *>(group); }

ctorch_status ctorch_group_sum(ctorch_group group, const ctorch_tensor *tensors, size_t count) {
    return guarded([&] {
        in_place(tensors, count,
                 [&](size_t, std::vector<at::Tensor> &one) { return unwrap_group(group).allreduce(one); });
    });
}

ctorch_status ctorch_group_broadcast(ctorch_group group, const ctorch_tensor *tensors, const ptrdiff_t *roots,
                                     size_t count) {
    return guarded([&] {
        in_place(tensors, count, [&](size_t i, std::vector<at::Tensor> &one) {
            c10d::BroadcastOptions options;
            options.rootRank = roots[i];
            return unwrap_group(group).broadcast(one, options);
        });
    });
}

ctorch_status ctorch_group_gather(ctorch_group group, ctorch_tensor input, ctorch_tensor *out) {
    return guarded([&] {
        auto &members = unwrap_group(group);
        const at::Tensor one = unwrap(input);
        std::vector<int64_t> shape{members.getSize()};
        shape.insert(shape.end(), one.sizes().begin(), one.sizes().end());
        const at::Tensor all = at::empty(shape, one.options());
        std::vector<std::vector<at::Tensor>> parts(1);
        for (int64_t rank = 0; rank < members.getSize(); ++rank) parts[0].push_back(all[rank]);
        std::vector<at::Tensor> own{one};
        members.allgather(parts, own)->wait();
        *out = wrap(all);
    });
}
