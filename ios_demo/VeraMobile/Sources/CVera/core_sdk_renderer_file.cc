#include "settings.h"
#include "sdk/renderer_file.cc"
