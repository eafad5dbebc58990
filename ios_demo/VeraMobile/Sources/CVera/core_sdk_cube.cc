#include "settings.h"
#include "sdk/cube.cc"
