#include "settings.h"
#include "sdk/manifest.cc"
