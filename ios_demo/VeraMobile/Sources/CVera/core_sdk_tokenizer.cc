#include "settings.h"
#include "sdk/tokenizer.cc"
