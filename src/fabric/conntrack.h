/* Flows that the kernel tracks in a network namespace. */
#pragma once

#include "base/err.h"

enum { CONNTRACK_ADDRESSES = 64 };

/*
 * In the namespace that the calling thread is in; -errno. Closing one for good takes the kernel milliseconds, as
 * nft_send_over says: keep it and give out copies.
 */
int conntrack_socket(void);

/* Forgets all flows from, to or translated by an address (IPv4, host order): whoever gets it next starts afresh. One
 * thread at a time. */
int conntrack_forget(int socket, const uint32_t *addresses, size_t count, struct err *err);
