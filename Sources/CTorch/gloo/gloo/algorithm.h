// A forward declaration in place of gloo's own header, which libtorch's packages leave out: c10d's header names these
// types, and collective.cpp needs no more of them than their names.
#pragma once
