#include "settings.h"
#include "ops/render/render_prepare.cc"
