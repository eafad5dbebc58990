#include "settings.h"
#include "sdk/picture.cc"
