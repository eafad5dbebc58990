// What CMake passes on the command line elsewhere. A package that others depend on may not set
// compiler flags, so each file of the core is compiled through a wrapper that starts with this one.
#pragma once
// A fused multiply-add would give other bytes than on other machines.
#pragma clang fp contract(off)
#define VERA_BUILDING
#define VERA_VERSION "0.1.0"
