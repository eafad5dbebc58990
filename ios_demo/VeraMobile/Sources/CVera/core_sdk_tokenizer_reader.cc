#include "settings.h"
#include "sdk/tokenizer_reader.cc"
