/*
 * A machine's cgroups: "haar/<owner>/<id>" under the server's own, in each hierarchy that can hold it back (memory,
 * pids, cpu): version 1, 2, or both; of version 2 under the nearest above where controllers can be passed on. A
 * controller that this host lacks is a limit that machines run without.
 *
 * In the hierarchy that has cpu, and in version 2, the guest's processes are in "<id>/guest" and the machine's monitor,
 * with the processes that serve exec, in "<id>/monitor". The limit of cpu is on both together, so that what a guest
 * makes its monitor do is paid by the guest; under it each has half of what both want, however many processes the guest
 * has. The limits of memory and processes are the guest's alone: it must not be able to have its monitor killed for
 * memory, nor keep it from starting a command.
 *
 * All machines together, "haar", have half of the processes that there can be, so that the host can always fork; one
 * machine has at most half of those.
 */
#pragma once

#include "base/err.h"
#include "guest/monitor.h"
#include "workload/hierarchy.h"

enum { CGROUP_TREES = 3, CGROUP_OLDER = 8 };

struct cgroups {
    struct cgroup_tree {
        char path[CGROUP_PATH]; /* …/haar/<owner> */
        char own[CGROUP_PATH];  /* the server's */
        bool unified;           /* version 2: all controllers in one */
        bool split;             /* guest and monitor have a group each */
        char passed_on[40];     /* version 2: what a group has to pass on to its own two, as the kernel takes it */
        char controller[16];    /* version 1 */
    } trees[CGROUP_TREES];
    size_t count;
    char older[CGROUP_OLDER][CGROUP_PATH]; /* an earlier server's, which ran in other cgroups; an empty one ends them */
    unsigned processes;                    /* of all machines, of all owners, together; 0: without a limit */
    char missing[CGROUP_CONTROLLERS][160]; /* why no tree has the controller; empty: one has */
};

struct cgroup_limits {
    uint64_t memory_bytes;
    unsigned vcpus;
    unsigned processes;
};

/* Finds the hierarchies and makes this owner's folders. `without`: for each controller why it is not to be used, or
 * NULL. */
void cgroups_open(struct str owner, const char *const without[CGROUP_CONTROLLERS], struct cgroups *ret_cgroups);

/* Notes in the owner's state folder where its folders are: they lie under the cgroup of who started the server (a login
 * session, a service), and the next server, or who reaps this one, may be in another. */
int cgroups_keep(struct cgroups *cgroups, const char *state_dir, struct err *err);

/* Says in `config` how machine `id`, and its monitor, enter their cgroups: recorded before they are made, so that none
 * is forgotten. */
int cgroups_name(const struct cgroups *cgroups, struct str id, struct monitor_config *config, struct err *err);
int cgroups_make(const struct cgroups *cgroups, struct str id, const struct cgroup_limits *limits, struct err *err);

/* Kills what is still in the cgroups that `config` names, and removes them. Gone already: 0. */
int cgroups_remove(const struct monitor_config *config, struct err *err);

/* Calls `each` for every machine of this owner's that processes are in a cgroup of, in an earlier server's cgroups too;
 * for one in several, as often. Before machines are started: empty ones are removed. */
void cgroups_each_running(const struct cgroups *cgroups, void (*each)(void *cookie, const char *id), void *cookie);

/* As cgroups_remove, wherever machine `id` has cgroups: where no record of it names them. */
int cgroups_end(const struct cgroups *cgroups, struct str id, struct err *err);

/* This owner's folders, if no machine is in them; all: with what still runs in them. */
void cgroups_close(const struct cgroups *cgroups, bool all);
