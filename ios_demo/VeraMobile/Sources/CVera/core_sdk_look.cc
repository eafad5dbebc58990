#include "settings.h"
#include "sdk/look.cc"
