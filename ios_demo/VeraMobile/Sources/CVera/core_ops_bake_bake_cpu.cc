#include "settings.h"
#include "ops/bake/bake_cpu.cc"
