/* The monitor's parts: birth of a machine, entering it, giving up rights. Single-threaded; no allocation. */
#pragma once

#include "guest/monitor.h"

#include <stdbool.h>
#include <sys/types.h>

struct monitor {
    struct monitor_config config;
    int control; /* the first connection */
    int child;   /* the socket to the child, later to init */
    int console; /* master of the guest's /dev/console */
    int console_slave;
    int pts;  /* root of the guest's devpts: terminals for exec are opened here, never by a path that the guest rules */
    int init; /* pidfd */
    int home, home_root; /* the mount namespace and root that it was started in; -1: it is there again */
    int disks[2];        /* the root's and /usr's mounts, held: unmounting may take the host seconds */
    pid_t pid;
};

/* What went wrong: kept for the message to the server. Returns -1. */
int launch_fail(const char *what);
int launch_fail_path(const char *what, const char *path);
extern struct monitor_message launch_failure;

int launch_birth(struct monitor *m);  /* the child exists, in cgroups and namespaces, waiting */
int launch_mounts(struct monitor *m); /* its root, devices and console, in the monitor's own view */

/* layers.c: disk and overlays, below the mount points. user: the machine's user namespace, -1 for none. */
int layers_mount(const struct monitor_config *config, int user);
/* The path of one of the mount points. Returns buf, of MONITOR_PATH + 32. */
const char *layers_point(const struct monitor_config *config, const char *name, char *buf);
#define LAYERS_POINT(config, name) layers_point((config), (name), (char[MONITOR_PATH + 32]){0})

/* The child is in its root: the monitor's own view, a copy of all that the host has mounted, goes. */
void launch_leave(struct monitor *m);

/* In a process that is, or has entered, the machine: the guest's root, its capabilities, its system call filter. */
int confine_become_root(void);
int confine(const struct monitor_config *config);

/* Serves one exec over `stream` and does not return. In a child of the monitor's. */
_Noreturn void session_run(struct monitor *m, int stream);
/* Says on the stream, without waiting, why it is not served: a line of under 200 bytes. */
void session_refuse(int stream, const char *why);

/*
 * clone3, and the child is born in the machine's cgroup of version 2, if it has one: to move there later waits for a
 * grace period. cgroups_join, called by the child, enters what else there is.
 */
struct clone_args;
pid_t launch_clone(const struct monitor_config *config, struct clone_args *args);
int cgroups_join(const struct monitor_config *config);
