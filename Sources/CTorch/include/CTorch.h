// A thin C header over libtorch's C++ API, split by subject. Only the room Tensors imports it.
#ifndef CTORCH_H
#define CTORCH_H

#include "ctorch_base.h"

#endif
