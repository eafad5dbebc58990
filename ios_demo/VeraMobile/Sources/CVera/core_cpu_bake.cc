#include "settings.h"
#include "cpu/bake.cc"
