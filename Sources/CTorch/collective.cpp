// c10d's TCPStore and Gloo process group, as libtorch_cpu carries them.
#include "collective.hpp"
#include "support.hpp"

#define USE_C10D_GLOO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#pragma GCC diagnostic pop
#include <ATen/core/grad_mode.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <c10/util/Logging.h>
#include <netdb.h>
#include <sys/socket.h>
#include <torch/csrc/autograd/custom_function.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>

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

/// This machine's address on the way to a host, where processes there reach it in turn; empty where there is no way. The
/// machine's own name, which libtorch would look up, often stands for the loopback address alone.
std::string address_towards(const std::string &host, uint16_t port) {
    for (const int family : {AF_INET, AF_INET6}) {
        addrinfo wanted{}, *found = nullptr;
        wanted.ai_family = family;
        wanted.ai_socktype = SOCK_DGRAM;  // connected without a word to anybody
        if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found) != 0) continue;
        std::string address;
        for (const addrinfo *one = found; one && address.empty(); one = one->ai_next) {
            const int way = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
            if (way < 0) continue;
            sockaddr_storage own{};
            socklen_t length = sizeof own;
            auto *const place = reinterpret_cast<sockaddr *>(&own);
            char text[NI_MAXHOST];
            if (connect(way, one->ai_addr, one->ai_addrlen) == 0 && getsockname(way, place, &length) == 0 &&
                getnameinfo(place, length, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0)
                address = text;
            close(way);
        }
        freeaddrinfo(found);
        if (!address.empty()) return address;
    }
    return "";
}

bool is_loopback(const std::string &address) { return address.rfind("127.", 0) == 0 || address == "::1"; }

/// Where the other ranks connect to this one. On the first one's host its name may stand for the loopback address, too:
/// then the way to a rank on another host tells.
std::string own_address(c10d::Store &store, const char *host, uint16_t port, ptrdiff_t rank, ptrdiff_t size) {
    const std::string address = address_towards(host, port), key = "address/";
    store.set(key + std::to_string(rank), std::vector<uint8_t>(address.begin(), address.end()));
    for (ptrdiff_t other = 0; other < size && is_loopback(address); ++other) {
        if (other == rank) continue;
        const auto bytes = store.get(key + std::to_string(other));
        const std::string theirs(bytes.begin(), bytes.end());
        if (!theirs.empty() && !is_loopback(theirs)) return address_towards(theirs, port);
    }
    return address;
}

/// - Parameter address: Where the other ranks connect to this one; empty for that of the machine's name.
/// `GLOO_SOCKET_IFNAME` names network interfaces in its place, as for every program with Gloo.
Group made(
    const c10::intrusive_ptr<c10d::Store> &store, int rank, int size, std::chrono::milliseconds timeout,
    const std::string &address = "") {
    auto settings = c10d::ProcessGroupGloo::Options::create(timeout);
    const char *asked = std::getenv("GLOO_SOCKET_IFNAME");
    std::istringstream interfaces(asked ? asked : "");
    for (std::string one; std::getline(interfaces, one, ',');)
        settings->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(one));
    if (settings->devices.empty())
        settings->devices.push_back(
            address.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                            : c10d::ProcessGroupGloo::createDeviceForHostname(address));
    return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, settings);
}

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
        const std::string address = own_address(*own, host, port, rank, size);
        *out = reinterpret_cast<ctorch_group>(
            new Group(made(own, static_cast<int>(rank), static_cast<int>(size), timeout, address)));
    });
}

ctorch_status ctorch_group_open_within(size_t size, ptrdiff_t timeout_ms, ctorch_group *out) {
    return guarded([&] {
        const auto store = c10::make_intrusive<c10d::HashStore>();
        std::vector<Group> groups(size);
        std::vector<std::exception_ptr> failures(size);
        std::vector<std::thread> threads;
        for (size_t rank = 0; rank < size; ++rank) {  // each waits for the others
            threads.emplace_back([&, rank] {
                try {
                    groups[rank] = made(store, static_cast<int>(rank), static_cast<int>(size),
                                        std::chrono::milliseconds(timeout_ms));
                } catch (...) {
                    failures[rank] = std::current_exception();
                }
            });
        }
        for (auto &thread : threads) thread.join();
        for (const auto &failure : failures)
            if (failure) std::rethrow_exception(failure);
        for (size_t rank = 0; rank < size; ++rank) out[rank] = reinterpret_cast<ctorch_group>(new Group(groups[rank]));
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

ctorch_status ctorch_group_carry(ctorch_group group, const ctorch_tensor *tensors, const ptrdiff_t *senders,
                                 const ptrdiff_t *receivers, const ptrdiff_t *tags, size_t count) {
    return guarded([&] {
        auto &members = unwrap_group(group);
        std::vector<c10::intrusive_ptr<c10d::Work>> works;
        const auto message = [&](size_t i) {
            TORCH_CHECK(unwrap(tensors[i]).is_contiguous(), "a message is contiguous");
            return std::vector<at::Tensor>{unwrap(tensors[i])};
        };
        for (size_t i = 0; i < count; ++i) {
            if (receivers[i] != members.getRank()) continue;
            auto one = message(i);
            works.push_back(members.recv(one, static_cast<int>(senders[i]), static_cast<int>(tags[i])));
        }
        for (size_t i = 0; i < count; ++i) {
            auto one = message(i);
            if (receivers[i] < 0) {
                c10d::BroadcastOptions options;
                options.rootRank = senders[i];
                works.push_back(members.broadcast(one, options));
            } else if (senders[i] == members.getRank()) {
                works.push_back(members.send(one, static_cast<int>(receivers[i]), static_cast<int>(tags[i])));
            }
        }
        for (const auto &work : works) work->wait();
    });
}

// ---- With gradients ----

namespace ctorch {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor reduced(const GroupPointer &group, const at::Tensor &tensor, c10d::ReduceOp::RedOpType operation) {
    const at::NoGradGuard no_gradients;
    TORCH_CHECK(tensor.is_cpu(), "ranks reduce on the CPU, got a tensor on ", tensor.device());
    const auto type = tensor.scalar_type();
    const bool narrow = type == at::kBFloat16 || type == at::kHalf;  // Gloo may not know them
    at::Tensor total = (narrow ? tensor.to(at::kFloat) : tensor.clone()).contiguous();
    if (total.numel() == 0) return total.to(type);
    c10d::AllreduceOptions options;
    options.reduceOp = operation;
    std::vector<at::Tensor> one{total};
    static_cast<c10d::ProcessGroupGloo &>(*group).allreduce(one, options)->wait();
    return total.to(type);
}

GroupPointer saved_group(AutogradContext *context) { return context->saved_data["group"].toCapsule(); }

void save_group(AutogradContext *context, const GroupPointer &group) {
    context->saved_data["group"] = c10::IValue::make_capsule(group);
}

/// The tensor itself; its gradient is the sum of those of all ranks.
struct Copy : torch::autograd::Function<Copy> {
    static at::Tensor forward(AutogradContext *context, const GroupPointer &group, const at::Tensor &tensor) {
        save_group(context, group);
        return tensor.view_as(tensor);
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        return {at::Tensor(), sum_over(saved_group(context), gradients[0])};
    }
};

/// The sum of the tensors of all ranks; each has its gradient as it is.
struct Sum : torch::autograd::Function<Sum> {
    static at::Tensor forward(AutogradContext *, const GroupPointer &group, const at::Tensor &tensor) {
        return sum_over(group, tensor);
    }

    static variable_list backward(AutogradContext *, variable_list gradients) {
        return {at::Tensor(), gradients[0]};
    }
};

}  // namespace

GroupPointer shared_group(ctorch_group group) { return *reinterpret_cast<Group *>(group); }

at::Tensor sum_over(const GroupPointer &group, const at::Tensor &tensor) {
    return reduced(group, tensor, c10d::ReduceOp::SUM);
}

at::Tensor maximum_over(const GroupPointer &group, const at::Tensor &tensor) {
    return reduced(group, tensor, c10d::ReduceOp::MAX);
}

}  // namespace ctorch

ctorch_status ctorch_group_copied(ctorch_group group, ctorch_tensor input, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(Copy::apply(shared_group(group), unwrap(input))); });
}

ctorch_status ctorch_group_summed(ctorch_group group, ctorch_tensor input, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(Sum::apply(shared_group(group), unwrap(input))); });
}

ctorch_status ctorch_group_rows(ctorch_group group, ctorch_tensor part, ptrdiff_t first, ptrdiff_t count,
                                ctorch_tensor index, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &rows = unwrap(part), &ids = unwrap(index);
        TORCH_CHECK(rows.dim() == 2 && ids.dim() == 1 && ids.scalar_type() == at::kLong,
                    "rows ", rows.sizes(), " and index ", ids.sizes(), " must be [rows, D] and int64 [N]");
        if (ids.numel() > 0) {
            const auto lowest = ids.min().item<int64_t>(), highest = ids.max().item<int64_t>();
            TORCH_CHECK(lowest >= 0 && highest < count, "row ", lowest < 0 ? lowest : highest, " is outside the ",
                        count, " of all ranks");
        }
        const at::Tensor own = (ids - first).clamp(0, rows.size(0) - 1);
        const at::Tensor is_own = ((ids >= first).logical_and(ids < first + rows.size(0))).to(rows.scalar_type());
        const at::Tensor found = at::index_select(rows, 0, own) * is_own.unsqueeze(1);
        *out = wrap(Sum::apply(shared_group(group), found));
    });
}
