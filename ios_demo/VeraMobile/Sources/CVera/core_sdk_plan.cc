#include "settings.h"
#include "sdk/plan.cc"
