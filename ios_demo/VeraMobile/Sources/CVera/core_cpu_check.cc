#include "settings.h"
#include "cpu/check.cc"
