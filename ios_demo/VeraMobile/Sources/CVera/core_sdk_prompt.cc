#include "settings.h"
#include "sdk/prompt.cc"
