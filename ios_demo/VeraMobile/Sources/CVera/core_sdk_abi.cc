#include "settings.h"
#include "sdk/abi.cc"
