/* Included before every file: functions that overflow or that lie about errors do not compile. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC poison strcpy strcat strncat sprintf vsprintf gets strtok mktemp tmpnam
