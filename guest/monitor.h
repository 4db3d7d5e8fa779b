/*
 * What the server and a machine's monitor say to each other.
 *
 * The server starts the monitor (posix_spawn of a sealed memfd) with a SOCK_SEQPACKET socket as descriptor
 * MONITOR_CONTROL, init's memfd as MONITOR_INIT and the disk's locked folder as MONITOR_DISK, and sends one struct
 * monitor_config. From then on both send struct monitor_message. A server that comes later connects to the socket
 * "sock" in the machine's run folder, gets MONITOR_STATE first, and may say the same.
 *
 *   server                 monitor               child, later init
 *   config          ─────► clone
 *                   ◄───── ───────── BORN (its network namespace comes along)
 *   attaches links         mounts, then "m" ───► enters its root
 *   GO              ─────► "g" ────────────────► becomes init
 *                   ◄───── READY, BOOTED ◄────── reports
 *   STOP            ─────► "s" ────────────────► ends everything in it
 *   OVER            ─────► kills it
 *                   ◄───── EXITED
 *
 * Until GO, the control socket's end of file makes the monitor kill its child and leave.
 */
#pragma once

#include <stdint.h>

enum {
    MONITOR_VERSION = 5,
    MONITOR_CONTROL = 3,
    MONITOR_INIT = 4,
    MONITOR_DISK = 5, /* the disk's folder, locked */

    MONITOR_PATH = 256,
    MONITOR_LAYERS = 4,
    MONITOR_CGROUPS = 4,
    MONITOR_IDS = 65536, /* user and group ids a machine has */
};

/* Every path is absolute and NUL-terminated; an empty one ends its list. */
struct monitor_config {
    uint32_t version;
    uint32_t volatile_disk;      /* it need not outlive a crash of the host: the guest's fsync costs nothing */
    uint32_t id_base;            /* where its ids start on the host; 0: no user namespace of its own */
    uint32_t refuses_allocation; /* fallocate, which would take the host's disk at once, is as where there is none */
    uint32_t usr_is_viewed;      /* /usr is laid as an unprivileged user of the host sees it */
    uint32_t trial;              /* as far as its mounts, then STATE: for finding out whether that works */
    char run[MONITOR_PATH];      /* its run folder: sock, exit, and the server's record of it */
    char mounts[MONITOR_PATH]; /* folder of the empty folders root, view, disk, l0, l1 …: mount points in the monitor's
                                  view */
    char disk[MONITOR_PATH];   /* folder of upper, work, usr-upper, usr-work */
    char console[MONITOR_PATH];                    /* the ring file */
    char layers[MONITOR_LAYERS][MONITOR_PATH];     /* of the root, topmost first */
    char usr_layers[MONITOR_LAYERS][MONITOR_PATH]; /* of an overlay of its own for /usr, or none */
    char join[MONITOR_CGROUPS][MONITOR_PATH]; /* files to which a process writes 0 to be in the machine's cgroups */
    char account[MONITOR_PATH]; /* … and one for the monitor itself, once the machine has come up: what the guest makes
                                   it do is on the machine's account. Its folder may have to be made. Or none */
    char home[MONITOR_PATH];    /* … and one to be where it was before, or none */
    char oom[MONITOR_PATH];     /* the file whose line "oom_kill N" counts kills for want of memory, or none */
    char host_name[65];
    char note[512]; /* the console's first line */
};

enum monitor_kind {
    /* from the server */
    MONITOR_GO = 1,
    MONITOR_STOP, /* number: milliseconds that processes get to end; 0: killed at once */
    MONITOR_OVER, /* its disk has outgrown its allowance: it is killed; text: the console's last line */
    MONITOR_EXEC, /* a stream socket comes along; its frames: workload/exec.h */
    /* from the monitor */
    MONITOR_BORN,   /* the child's network namespace comes along */
    MONITOR_FAILED, /* number: errno; text: what */
    MONITOR_STATE,  /* number: init's pid; flags so far */
    MONITOR_READY,
    MONITOR_BOOTED,
    MONITOR_EXITED, /* number: as waitpid's; flags: why */
};

enum monitor_flag {
    MONITOR_IS_READY = 1,
    MONITOR_IS_BOOTED = 2,
    MONITOR_OUT_OF_MEMORY = 4,
    MONITOR_POWER_OFF = 8,
    MONITOR_REBOOT = 16,
    MONITOR_ASKED = 32,             /* a STOP had been said */
    MONITOR_OVER_ALLOWANCE = 128,   /* an OVER had been said */
    MONITOR_NO_USER_NAMESPACE = 64, /* FAILED because this host has none */
    MONITOR_NO_VIEW = 128,          /* FAILED because nothing can be opened through a view of /usr */
};

struct monitor_message {
    uint32_t kind;
    int32_t number;
    uint32_t flags;
    uint32_t version;
    char text[240];
};

/*
 * The console file: this head, then MONITOR_RING bytes used in a circle. `total` counts all bytes ever written;
 * byte n stands at n % MONITOR_RING. It is written behind the bytes, so a reader that finds the same total, or
 * one less than a ring ahead, before and after has read what it thinks.
 */
enum { MONITOR_RING = 1024 * 1024 - 16 };

struct monitor_ring {
    char magic[8]; /* "haarcons" */
    uint64_t total;
};

/* Bytes on the socket between monitor and init. */
enum {
    INIT_MOUNTED = 'm', /* to the child: its mounts are made */
    INIT_GO = 'g',      /* to the child */
    INIT_STOP = 's',    /* to init; four bytes follow: milliseconds, host order */
    INIT_READY = 'R',   /* from init */
    INIT_BOOTED = 'B',
    INIT_POWER_OFF = 'P', /* from init: the guest asked */
    INIT_REBOOT = 'r',
    INIT_ERROR = 'E', /* from the child: errno (four bytes), text */
};
