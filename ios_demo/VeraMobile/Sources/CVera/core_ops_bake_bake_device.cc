#include "settings.h"
#include "ops/bake/bake_device.cc"
