#include "settings.h"
#include "ops/bake/bake_pack.cc"
