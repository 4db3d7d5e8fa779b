/*
 * What a host may lack, and what machines are without it. Each is looked for when the driver opens; what is not there
 * is said once in the log, and by introspection for as long as the server runs. A test may have one called missing that
 * is there. What no machine can do without is in probe.c.
 */
#pragma once

#include "workload/workload.h"

enum host_feature {
    HOST_MEMORY_LIMITS,
    HOST_PROCESS_LIMITS,
    HOST_CPU_LIMITS,
    HOST_USER_NAMESPACES,
    HOST_MAPPED_MOUNTS,
    HOST_LASTING_DISKS,
    HOST_DISK_LIMITS,
    HOST_PACKET_FILTER,
    HOST_FEATURES
};

struct host {
    unsigned pretended; /* a bit a feature: called missing */
    struct workload_lack lacks[HOST_FEATURES];
    size_t count;
};

/* Names of features between commas, as introspection has them: a bit each. False: one is none. */
bool host_parse(struct str names, unsigned *ret);

/* For tests: why a feature that is there is called missing; NULL: it is not. */
const char *host_pretends(const struct host *host, enum host_feature feature);

/* It is missing, says `why` in one line. Before the driver is in use. */
void host_note(struct host *host, enum host_feature feature, const char *why);
