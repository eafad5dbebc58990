#include "settings.h"
#include "sdk/retoucher.cc"
