/*
 * Inside the native driver. One lock guards the table of machines and their members; it is never held over a
 * system call that waits. Who changes a machine's state: a worker from STOPPED to STARTING, the watcher thread from
 * STARTING to RUNNING (READY came) and, when the monitor's socket has ended, to STOPPED, after everything of it but its
 * disk is gone. Workers wait for that on `changed`.
 */
#pragma once

#include "base/map.h"
#include "fabric/fabric.h"
#include "guest/monitor.h"
#include "workload/allowance.h"
#include "workload/cgroup.h"
#include "workload/host.h"
#include "workload/native.h"

#include <pthread.h>
#include <stdatomic.h>

#define MACHINE_MAGIC "haarmac3" /* of a record: its shape */

/* Ids of machines: the "Here be lions" part of the id space that systemd's documentation leaves free, for 4,095. */
enum { MACHINE_INTERFACES = 15, MACHINE_ID = 64, MACHINE_IDS_FIRST = 0x70000000 };

/* What it takes to start a machine, and to take one apart later: kept in its run folder as bytes, up to its last
 * interface. The interfaces change while it runs: read and written under the lock. */
struct machine_record {
    char magic[8];
    struct monitor_config config;
    struct cgroup_limits limits;
    struct usage disk, allowance; /* its disk's size, 0: without limit; what it may keep there since this start */
    unsigned interface_count;
    struct machine_interface {
        char id[32], vpc_id[32], subnet_id[32];
        struct fabric_cidr vpc_cidr;
        uint8_t mac[6];
        bool source_dest_check;
        uint32_t gateway;
        unsigned prefix, device_index;
        unsigned address_count, group_count;
        struct fabric_address addresses[FABRIC_ADDRESSES];
        char groups[FABRIC_GROUPS][32];
    } interfaces[MACHINE_INTERFACES];
};

enum machine_state { MACHINE_STOPPED, MACHINE_STARTING, MACHINE_RUNNING };

struct machine {
    char id[MACHINE_ID];
    enum machine_state state;
    struct machine_record record;
    int control;       /* socket to the monitor, -1: none */
    int monitor;       /* its pidfd, -1: none */
    pid_t monitor_pid; /* ours to wait for; 0: adopted */
    bool ready, booted;
    bool was_ready; /* since it was last started; stays when it has ended */
    bool leaving;   /* it is being taken apart: its record changes no more */
    bool asked;     /* to end: its EXITED is not told */
    bool hurried;   /* … at once */
    bool exited;
    atomic_bool given_up; /* its start: nobody waits for it any more */
    bool ended_unseen;    /* while it is adopted: only to be cleaned up after */
    bool unheard;         /* … though something of it runs: it is ended */
    unsigned unlinked;    /* … bits: its interfaces that have lost their links */
    pid_t init;           /* … as its monitor says */
    struct workload_exit exit;
    struct err failure; /* why it did not start */
    struct allowance_look look;
};

struct native {
    char owner[16];
    char state_dir[MONITOR_PATH - 128];
    struct workload_sink sink;
    struct host host;
    struct cgroups cgroups;
    struct fabric *fabric;
    int monitor_program, init_program; /* sealed memfds */
    uint32_t next_ids;

    pthread_mutex_t records; /* taken before `lock`: a record's change and its file are one */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct map machines; /* by id */

    pthread_t watcher;
    pthread_t lookers[ALLOWANCE_LOOKERS];
    unsigned looker_count;
    pthread_t warmer;
    bool warming;   /* a thread that makes the usual image */
    int poll, wake; /* epoll; eventfd that ends the watcher */
    struct leaving {
        pid_t pid;
        struct leaving *next;
    } * leaving;               /* monitors that have said their last word; the watcher's own */
    atomic_bool closing;       /* … which ends it */
    int looker_wake;           /* eventfd that ends them; -1: they do not run */
    struct usage free, fallen; /* of the disks' file system: now, and lost in all since the start */
    bool quotas, looks;        /* what holds machines to their disks' sizes; neither: nothing does */
    bool durable;
    bool host_local; /* the host image has the host's /usr/local */
    bool unmapped;   /* machines run without a user namespace of their own */
};

/* A view of one of a record's interfaces; `groups` holds the views of its groups' ids. */
void machine_fabric_interface(const struct machine_interface *from, struct str groups[FABRIC_GROUPS],
                              struct fabric_interface *to);

/* spec.c */
int machine_check_spec(const struct workload_spec *spec, struct err *err);
int machine_check_interface(const struct workload_interface *interface, struct err *err);
void machine_fill_interface(const struct workload_interface *from, struct machine_interface *to);
int machine_describe(struct native *native, const struct workload_interface *interface, struct err *err);
int machine_fill_record(struct native *native, struct machine *machine, const struct workload_spec *spec,
                        struct err *err);
int machine_fill_image(const struct native *native, struct monitor_config *config, struct str name,
                       const atomic_bool *cancel, struct err *err);

/* machine.c. The machine is STARTING. Success: its init has been told to go and the watcher has it. */
int machine_launch(struct native *native, struct machine *machine, struct err *err);
int machine_new_disk(struct native *native, struct machine *machine, const struct workload_spec *spec, struct err *err);
void machine_run_path(const struct native *native, struct str id, char path[MONITOR_PATH]);
void machine_disk_path(const struct native *native, struct str id, char path[MONITOR_PATH]);
void machine_console_path(const struct native *native, struct str id, char path[MONITOR_PATH]);
/* A monitor with its orders, which holds the open disk (-1: none) from its first moment. *ret_pid, when set, is the
 * caller's to wait for, *ret_control to close, also on failure. */
int machine_spawn_monitor(const struct native *native, const struct monitor_config *config, int disk, int *ret_control,
                          pid_t *ret_pid, struct err *err);
/* Does not wait: a monitor that stands still, and has not read what it was told before, is told nothing. */
int machine_say(const struct machine *machine, uint32_t kind, int number, int fd, struct err *err);

int machine_keep_record(const struct machine_record *record, struct err *err);

/* What a machine has beside its disk: links, cgroups, run folder. What fails is logged. */
void machine_clean(struct native *native, struct machine *machine);
int programs_load(struct native *native, struct err *err);
struct str program_init(void); /* its bytes */

/* watch.c */
int watch_start(struct native *native, struct err *err);
void watch_add(struct native *native, struct machine *machine); /* its control socket */
void watch_stop(struct native *native);

/* trial.c: whether machines can be born here, and whether with ids of their own. */
int trial_run(struct native *native, struct err *err);
void trial_forget_disks(const struct native *native); /* those in memory, if they are there */

/* adopt.c: fills the table from the folders. Before the watcher starts. */
int adopt_all(struct native *native, struct err *err);

/* native_parts.c: all that it is made of; what runs is adopted. On failure what is open is the caller's to close. */
int native_open_parts(struct native *native, const struct workload_native_config *config, struct err *err);

/* native_exec.c, native_network.c: of the driver's table. */
int native_exec(void *cookie, struct str id, const struct workload_exec *exec, struct workload_process *ret,
                struct err *err);
int native_set_vpc(void *cookie, const struct fabric_vpc *vpc, struct err *err);
int native_set_group(void *cookie, struct str vpc_id, const struct fabric_group *group, struct err *err);
int native_set_interface(void *cookie, const struct workload_interface *to, struct err *err);
int native_remove_vpc(void *cookie, struct str vpc_id, struct err *err);
void native_network_status(void *cookie, struct fabric_status *ret);
