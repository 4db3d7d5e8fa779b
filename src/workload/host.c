#include "workload/host.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>

static const struct {
    const char *name, *effect;
} features[HOST_FEATURES] = {
    [HOST_MEMORY_LIMITS] = {"memory-limits", "a machine may take all of the host's memory"},
    [HOST_PROCESS_LIMITS] = {"process-limits", "a machine may start any number of processes"},
    [HOST_CPU_LIMITS] = {"cpu-limits", "a machine may use every processor"},
    [HOST_USER_NAMESPACES] = {"user-namespaces", "a machine's root is the host's, with a container's capabilities"},
    [HOST_MAPPED_MOUNTS] = {"mapped-mounts", "a machine's root is the host's, with a container's capabilities"},
    [HOST_LASTING_DISKS] = {"lasting-disks", "machines' disks are in memory, and end with the host"},
    [HOST_DISK_LIMITS] = {"disk-limits", "a machine may keep more on the host's disk than it was given"},
    [HOST_PACKET_FILTER] = {"packet-filter", "security groups are not enforced, and there are no public addresses"},
};

bool host_parse(struct str names, unsigned *ret)
{
    *ret = 0;
    while (names.p) {
        struct str name = str_cut(&names, ',');
        size_t i = 0;

        while (i < HOST_FEATURES && !str_equal(name, str_of(features[i].name)))
            i++;
        if (i == HOST_FEATURES)
            return false;
        *ret |= 1u << i;
    }
    return true;
}

const char *host_pretends(const struct host *host, enum host_feature feature)
{
    return host->pretended >> feature & 1 ? "called missing by HAAR_PRETEND_MISSING" : NULL;
}

void host_note(struct host *host, enum host_feature feature, const char *why)
{
    struct workload_lack *lack = &host->lacks[host->count++];

    *lack = (struct workload_lack){.what = features[feature].name, .effect = features[feature].effect};
    snprintf(lack->why, sizeof lack->why, "%.199s", why);
    log_warning("this host lacks %s: %s (%s)", lack->what, lack->effect, lack->why);
}
