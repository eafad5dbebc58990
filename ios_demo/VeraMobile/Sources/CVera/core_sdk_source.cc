#include "settings.h"
#include "sdk/source.cc"
