#include "settings.h"
#include "cpu/vera.cc"
