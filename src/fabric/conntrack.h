/* Flows that the kernel tracks in the network namespace that the calling thread is in. */
#pragma once

#include "base/err.h"

/* Forgets all flows from, to or translated by `address` (IPv4, host order): whoever gets it next starts afresh. */
int conntrack_forget(uint32_t address, struct err *err);
