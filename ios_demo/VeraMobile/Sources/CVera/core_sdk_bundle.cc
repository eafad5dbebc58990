#include "settings.h"
#include "sdk/bundle.cc"
