/*
 * Where on this host cgroups of ours can be made, for each controller: the server's own cgroup in a hierarchy of
 * version 1; in version 2 the nearest from there up that can pass controllers on.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "guest/monitor.h"

enum { CGROUP_PATH = MONITOR_PATH - 32 };

enum cgroup_controller { CGROUP_MEMORY, CGROUP_PIDS, CGROUP_CPU, CGROUP_CONTROLLERS };
extern const char *const cgroup_controllers[CGROUP_CONTROLLERS];

struct hierarchy {
    char path[CGROUP_PATH]; /* the folder under which to make them */
    char own[CGROUP_PATH];  /* the server's own, and so every new process's of its; path or below it or beside it */
    size_t top;             /* length of the part that is the mount's */
    bool is_unified;        /* version 2 */
};

struct hierarchies {
    struct buf table, mounts; /* as the kernel shows them */
    struct hierarchy unified; /* path empty: there is no version 2 */
};

/* May move the server to a leaf "haar.server" of its cgroup of version 2, in a container all its processes. */
void hierarchies_open(struct hierarchies *ret);
void hierarchies_free(struct hierarchies *hierarchies);

/* The one for a controller; a failure says in one line why there is none. */
int hierarchy_with(const struct hierarchies *hierarchies, const char *controller, struct hierarchy *ret,
                   struct err *err);

/* How many processes and threads there can be at once in cgroups made there: the kernel's own limits, and those of the
 * cgroups from there up. UINT64_MAX: nothing says. */
uint64_t hierarchy_processes(const struct hierarchy *hierarchy);

/* One file of a cgroup. 0, or -errno. */
int cgroup_put(const char *folder, const char *file, const char *value);
/* Is the controller one of the words of the folder's file? */
bool cgroup_lists(const char *folder, const char *file, const char *controller);
bool cgroup_has_word(struct str words, char separator, const char *word);

/* Of version 2: how many of the controllers what is made in the folder will have. */
unsigned cgroup_pass_on(const char *folder);
/* The leaf's processes go back, and the leaf: nothing of ours is below the folder any more. */
void cgroup_leave_leaf(const char *folder);
