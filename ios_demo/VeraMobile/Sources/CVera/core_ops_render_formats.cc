#include "settings.h"
#include "ops/render/formats.cc"
