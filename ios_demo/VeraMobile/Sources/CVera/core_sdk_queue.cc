#include "settings.h"
#include "sdk/queue.cc"
