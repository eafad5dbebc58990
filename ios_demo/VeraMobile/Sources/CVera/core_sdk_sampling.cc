#include "settings.h"
#include "sdk/sampling.cc"
