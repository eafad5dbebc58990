#include "settings.h"
#include "sdk/cube_reader.cc"
