/*
 * A thread for what the kernel takes long to end, and nobody waits for: a link (17 ms), an address's tracked flows (a
 * walk through the whole table, 5 ms of a CPU: a moment later, when what made them end is over). What waits for one
 * network namespace is ended together. `key` names the
 * namespace; its descriptors are opened by who asks, in it.
 */
#pragma once

#include "base/err.h"

struct reaper;

struct reaper *reaper_new(void);
void reaper_free(struct reaper *reaper); /* when all has ended */

/* Of the namespace that the calling thread is in. The link is down, and in the group LINK_LEAVING. */
void reaper_end_link(struct reaper *reaper, uint64_t key, unsigned index);

/* Flows from, to or translated by the address, by a conntrack socket that is closed when done. */
void reaper_end_flows(struct reaper *reaper, uint64_t key, int socket, uint32_t address);

/* Until no flow of the address that was to end is left: before somebody else gets it. */
void reaper_await_flows(struct reaper *reaper, uint64_t key, uint32_t address);
