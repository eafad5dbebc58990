#include "settings.h"
#include "cpu/shader.cc"
