/*
 * The native driver: machines from namespaces, cgroups and overlays, started by a monitor each (guest/monitor.h). The
 * server's side holds no process: it talks to monitors over sockets, so one that comes later adopts what runs.
 *
 * Events come on the driver's own thread; READY may come before `ensure` has returned. An end that stop, reboot, remove
 * or close asked for is not told as EXITED.
 */
#pragma once

#include "workload/workload.h"

struct workload_native_config {
    struct str owner;     /* 8 characters */
    struct str state_dir; /* /var/lib/haar/<owner>: disks, images, what runs */
    /*
     * Disks are to survive a crash of the host (--data). Else a guest's fsync costs nothing, and taking a machine
     * apart does not wait until all that the host has in its caches is written, as unmounting an overlay otherwise
     * does.
     */
    bool durable;
    bool host_local; /* the host image shows the host's /usr/local too */
    enum fabric_internet internet;
    struct fabric_cidr public_pool;          /* prefix 0: a free /20 of 198.18.0.0/15 */
    const struct fabric_cidr *allowed_hosts; /* --allow-host */
    size_t allowed_host_count;
    unsigned pretend_missing; /* for tests: features of the host, as host_parse has them */
    bool reaping;             /* opened to be closed: no machine will start */
    struct workload_sink
        sink; /* called on threads of the driver's, also before `new` returns; it must not call the driver */
};

/* 0, or in one line what this host lacks. Any thread. */
int workload_native_probe(struct err *err);

/* Adopts what an earlier server of this owner left. Blocks for some milliseconds a machine. */
int workload_native_new(const struct workload_native_config *config, struct workload_backend *ret_backend,
                        struct err *err);

struct owner;
/* All of a dead owner: for owner_reap_dead. */
int workload_native_reap(const struct owner *dead, struct err *err);
