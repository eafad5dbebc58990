#include "settings.h"
#include "sdk/color.cc"
