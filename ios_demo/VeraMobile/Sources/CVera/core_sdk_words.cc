#include "settings.h"
#include "sdk/words.cc"
