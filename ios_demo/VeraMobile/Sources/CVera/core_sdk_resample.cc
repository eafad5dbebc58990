#include "settings.h"
#include "sdk/resample.cc"
