#include "settings.h"
#include "sdk/sha256.cc"
