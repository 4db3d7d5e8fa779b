/*
 * Which driver runs machines, and why. Choosing asks only what this host has; opening makes the driver, which adopts
 * what an earlier server left, and may take as long as that takes.
 */
#pragma once

#include "base/arena.h"
#include "workload/workload.h"

struct owner;
struct settings;

struct backend_choice {
    const char *name;  /* "native", "none" */
    bool asked;        /* by name: if it does not open, that is a failure and no reason to look further */
    struct str reason; /* why there are no machines, and what would make them; absent when there are */
    struct str image;  /* what an instance boots */
};

/*
 * A driver that was asked for by name and cannot run is a failure that says what is missing. `auto` picks native,
 * docker, podman, none in that order, and the log says which and why. `owner` NULL: nothing can be owned, so nothing
 * can run. Strings of the choice live in `arena`.
 */
int backend_choose(const struct settings *settings, const struct owner *owner, struct arena *arena,
                   struct backend_choice *ret, struct err *err);

/* For one that is not none. Any thread. */
int backend_open(const struct backend_choice *choice, const struct settings *settings, const struct owner *owner,
                 const struct workload_sink *sink, struct workload_backend *ret, struct err *err);
