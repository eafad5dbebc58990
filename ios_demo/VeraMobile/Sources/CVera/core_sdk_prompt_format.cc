#include "settings.h"
#include "sdk/prompt_format.cc"
