/* What POST …/exec asks for: {"command": ["sh", "-c", "…"], "tty": false, "rows": 24, "columns": 80}. */
#pragma once

#include "base/err.h"
#include "workload/workload.h"

/* Strings are copied into the arena. err says what is wrong with the body. */
int exec_command_parse(struct arena *arena, struct str body, struct workload_exec *ret, struct err *err);
