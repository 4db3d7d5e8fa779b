/*
 * Named network namespaces, where `ip netns` looks for them. namespace_make and namespace_enter change the calling
 * thread's own network namespace: for the fabric's thread only.
 */
#pragma once

#include "base/err.h"

#define NAMESPACE_FOLDER "/run/netns"

/* A new one under `name`, entered. Returns its descriptor. */
int namespace_make(const char *name, struct err *err);
int namespace_open(const char *name, struct err *err); /* -ENOENT when there is none */
int namespace_enter(int fd, struct err *err);
int namespace_remove(const char *name, struct err *err); /* its name; the kernel ends it with its last user */

/* All whose name starts with `prefix`; and the folder's own mount, when no name is left and haar made it. */
int namespace_remove_all(struct str prefix, struct err *err);

/* Writes into /proc/sys/net of the namespace that the thread is in. */
int namespace_set(const char *path, const char *value, struct err *err);

/* A new namespace, which the thread is in, as a router: its settings before any link is made. */
int namespace_furnish(struct err *err);
