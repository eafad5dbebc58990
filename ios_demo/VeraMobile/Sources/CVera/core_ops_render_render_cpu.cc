#include "settings.h"
#include "ops/render/render_cpu.cc"
