#include "settings.h"
#include "sdk/unicode.cc"
