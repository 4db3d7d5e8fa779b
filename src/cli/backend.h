/* Which driver runs machines, and why. */
#pragma once

#include "base/arena.h"
#include "workload/workload.h"

struct owner;
struct settings;

struct backend_choice {
    struct workload_backend backend; /* driver NULL: none */
    struct str reason;               /* why there are no machines, and what would make them; absent when there are */
    struct str image;                /* what an instance boots */
};

/*
 * Picks and opens. A driver that was asked for by name and cannot run is a failure that says what is missing. `auto`
 * picks native, docker, podman, none in that order, and the log says which and why. `owner` NULL: nothing can be owned,
 * so nothing can run. Strings of the choice live in `arena`.
 */
int backend_choose(const struct settings *settings, const struct owner *owner, const struct workload_sink *sink,
                   struct arena *arena, struct backend_choice *ret, struct err *err);
