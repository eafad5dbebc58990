#include "settings.h"
#include "sdk/planner.cc"
