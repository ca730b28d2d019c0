// A forward declaration in place of gloo's own header, which libtorch's packages leave out: c10d's header names these
// types, and collective.cpp needs no more of them than their names.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {
/// Never made here: the process group makes its own, inside libtorch.
class Store {
   public:
    virtual ~Store();
    virtual void set(const std::string &key, const std::vector<char> &value) = 0;
    virtual std::vector<char> get(const std::string &key) = 0;
    virtual void wait(const std::vector<std::string> &keys) = 0;
    virtual void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &timeout) = 0;
};
}  // namespace gloo::rendezvous
