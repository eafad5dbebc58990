#include "settings.h"
#include "cpu/tiles.cc"
