/* llhttp, in its strict mode, and the one place that includes it. */
#pragma once

#define LLHTTP_STRICT_MODE 1
#include <llhttp.h>
