#include "settings.h"
#include "sdk/json.cc"
