/*
 * A place to run: what EC2 (and later Lambda) ask of one. A driver is a table of functions over an opaque
 * cookie. All functions may block and are called on a worker thread, at most one at a time for one id;
 * probe and close on the loop's thread.
 *
 * A workload goes: ensure (event STARTING; its processes exist, its interfaces are made) → event READY when the guest's
 * init has reported → event BOOTED when its first boot has finished (user data run) → event EXITED. A driver tells what
 * happens by itself through its event sink, from any thread, at most once each: an end that stop, reboot, remove or
 * close brought about is no event, and a guest that asked for a reboot is not started again by the driver. A sink must
 * not call the driver.
 *
 * Everything is level-triggered: ensure of what runs already changes nothing and returns 0; stop and remove
 * of what is gone succeed.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "fabric/fabric.h"

#include <uv.h>

struct workload_interface {
    struct str id;     /* eni-… */
    struct str vpc_id; /* the network namespace it is routed in */
    struct str vpc_cidr;
    uint8_t mac[6];
    uint32_t address; /* IPv4, host order: on the interface in the guest; the primary one */
    uint32_t gateway; /* the subnet's +1 */
    unsigned prefix;  /* the subnet's */
    unsigned device_index;
    uint64_t version; /* as fabric.h says */
    bool source_dest_check;
    struct str subnet_id;
    /* All of it, the primary one first, each with its public address. None: `address` alone, without a public one. */
    const struct fabric_address *addresses;
    size_t address_count;
    /* Its security groups, whole. None: nothing reaches it and it reaches nothing. */
    const struct fabric_group *groups;
    size_t group_count;
    const struct fabric_vpc *vpc; /* the whole VPC; NULL: its CIDR alone, no gateway */
};

/* What should run. Views: valid during the call only. */
struct workload_spec {
    struct str id;           /* i-…: names cgroup, folder, socket */
    struct str image;        /* "tiny" or "host" (built in) */
    struct str host_name;    /* ip-172-31-0-10 */
    struct str user_data;    /* decoded; empty if none. Run once a workload's disk, when it begins with #! */
    struct str console_note; /* the console's first line */
    struct str why; /* said on the console before it: why it boots though nobody asked; empty if somebody did */
    unsigned vcpus;
    uint64_t memory_bytes;
    uint64_t disk_bytes; /* what it may keep on its disk beyond the image; 0: without limit */
    const struct workload_interface *interfaces;
    size_t interface_count;
};

enum workload_state {
    WORKLOAD_ABSENT,  /* nothing of it */
    WORKLOAD_STOPPED, /* its disk only */
    WORKLOAD_RUNNING,
};

enum workload_event_kind {
    WORKLOAD_STARTING, /* a boot begins: what is told from here on is of it, nothing of an older one comes any more */
    WORKLOAD_READY,    /* init has reported: interfaces configured, host name set */
    WORKLOAD_BOOTED,   /* user data has run (or there was none) */
    WORKLOAD_EXITED,   /* its init has ended */
};

struct workload_exit {
    int status;          /* as waitpid's */
    bool out_of_memory;  /* the kernel killed for memory */
    bool power_off;      /* the guest asked for it */
    bool reboot;         /* the guest asked for it */
    bool over_allowance; /* we ended it: it kept more than disk_bytes */
    bool lost;           /* nobody saw how: what watched it was killed */
    bool unlinked;       /* we ended it: its links were taken away, and could not be made again */
};

struct workload_event {
    enum workload_event_kind kind;
    struct str id;             /* valid during the call */
    struct workload_exit exit; /* EXITED only */
};

/* One running thing inside: `haar exec`. The descriptors are the caller's side; close them. */
struct workload_exec {
    const struct str *command;
    size_t count;
    bool tty;
    unsigned rows, columns;
};

struct workload_process {
    int fd; /* a stream socket to the driver's end: frames as workload/exec.h says */
};

struct workload_observed {
    struct str id; /* in the arena given */
    enum workload_state state;
    bool ready, booted;
};

/* What the host lacks, that machines run without. */
struct workload_lack {
    const char *what;   /* "user-namespaces" */
    const char *effect; /* "security groups are not enforced" */
    char why[200];
};

enum workload_capability {
    WORKLOAD_OWN_ADDRESS = 1, /* the address that the spec asks for, on a real interface */
    WORKLOAD_DISK_LASTS = 2,  /* over stop and start */
    WORKLOAD_EXEC = 4,
};

struct arena;

struct workload_driver {
    const char *name; /* "native" */
    unsigned capabilities;

    /*
     * Starts it, with an interface for each in the spec. Returns when its init has been told to go; a driver whose init
     * is its own may wait for READY, so that what keeps it from starting is this call's error. READY may be told before
     * it returns.
     */
    int (*ensure)(void *cookie, const struct workload_spec *spec, struct err *err);
    /* Asks init to end, kills after grace_ms (0: at once). Its disk and interface addresses stay reserved; processes
     * and links are gone on return. */
    int (*stop)(void *cookie, struct str id, unsigned grace_ms, struct err *err);
    /* Ends and starts again on the same disk; READY and BOOTED come anew. */
    int (*reboot)(void *cookie, struct str id, unsigned grace_ms, struct err *err);
    /* What is under way of it waits no longer for the guest: a stop or reboot kills, an ensure fails. Beside them, on
     * any thread; does not block. */
    void (*hurry)(void *cookie, struct str id);
    int (*remove)(void *cookie, struct str id, struct err *err); /* all of it, disk too */
    /* As remove, but its disk is kept where nobody looks for one: the log says where. NULL: it cannot be. */
    int (*set_aside)(void *cookie, struct str id, struct err *err);
    int (*observe)(void *cookie, struct arena *arena, struct workload_observed **ret, size_t *ret_count,
                   struct err *err);
    /* The console's last bytes, at most `limit`, appended to out. ret_offset: how many bytes the console had ever
     * written up to the end. */
    int (*console)(void *cookie, struct str id, size_t limit, struct buf *out, uint64_t *ret_offset, struct err *err);
    /*
     * The console to follow: a descriptor of its ring file, for console_read_from (workload/console.h). It goes on
     * being readable after remove, which unlinks the file when all has been written. 1: there is none, not yet or not
     * any more.
     */
    int (*console_open)(void *cookie, struct str id, int *ret_fd, struct err *err);
    int (*exec)(void *cookie, struct str id, const struct workload_exec *exec, struct workload_process *ret,
                struct err *err);

    /*
     * The network, whole descriptions of what has changed, obeyed on return: grants, withdrawals, routes, public
     * addresses. What the driver has nothing of: 0, nothing done; ensure brings it. NULL: the driver filters nothing.
     * After a start the reconciler tells of every interface that observe's running workloads have by set_interface,
     * before it starts others: until then they obey what was told to the server before.
     * set_interface: groups, addresses, public addresses, source_dest_check and VPC of an attached one.
     * Unlike the others these may be called for several things at once, and beside ensure of other workloads.
     */
    int (*set_vpc)(void *cookie, const struct fabric_vpc *vpc, struct err *err);
    int (*set_group)(void *cookie, struct str vpc_id, const struct fabric_group *group, struct err *err);
    int (*set_interface)(void *cookie, const struct workload_interface *interface, struct err *err);
    int (*remove_vpc)(void *cookie, struct str vpc_id, struct err *err); /* deleted: what is remembered of it */
    void (*network_status)(void *cookie, struct fabric_status *ret);     /* any thread; does not block */

    /* Found out when the driver was opened; stays valid and the same. Any thread. */
    const struct workload_lack *(*lacks)(void *cookie, size_t *ret_count);

    /* Removes what is not a workload: namespaces of VPCs, folders. remove_all: every workload too. */
    int (*close)(void *cookie, bool remove_all, struct err *err);
};

struct workload_backend {
    const struct workload_driver *driver;
    void *cookie;
};

struct workload_sink {
    void (*event)(void *cookie, const struct workload_event *event); /* any thread */
    void *cookie;
};
