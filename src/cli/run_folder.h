/*
 * What the command line knows a server by: its folder in /run, with the lock, the token and the address where it
 * listens. Where that is taken away while the server lives (what cleans /run, an administrator) it is made anew within
 * a second: other servers would take this one for dead.
 */
#pragma once

#include "workload/owner.h"

#include <uv.h>

struct run_folder {
    struct owner *owner;
    struct str data, address;
    uv_fs_event_t watch;
    uv_timer_t settle; /* until who takes it away has done */
    bool open;
};

/* Writes the address, as a client writes it, and watches the folder. `owner` and the views live as long as it does. */
int run_folder_open(struct run_folder *folder, uv_loop_t *loop, struct owner *owner, struct str data,
                    struct str address, struct err *err);
void run_folder_close(struct run_folder *folder); /* its handles end with the loop's next turn */
