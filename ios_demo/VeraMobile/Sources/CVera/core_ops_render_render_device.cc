#include "settings.h"
#include "ops/render/render_device.cc"
