/*
 * What the host image does not show of the host's /usr. A machine sees /usr as an unprivileged user of the host does
 * (guest/layers.c), so what is private needs no hiding, with these exceptions:
 *   - /usr/local, the administrator's own, unless it was asked for: an empty one stands in its place;
 *   - what lies under a file system that is mounted below /usr, which nobody on the host sees;
 *   - where an overlay cannot lie over a view of /usr, because that is an overlay itself (in a container), what is not
 *     everybody's to read: looked for once, when the image is made.
 * Hidden is what the image's own layer has a whiteout for (a character device 0:0; overlayfs.rst, "whiteouts").
 */
#pragma once

#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

/* Into the layer `usr`, open. local: /usr/local is shown; else there is nothing below it to hide: in a folder that does
 * not lie over another a whiteout would be seen. */
int hidden_local(int usr, struct err *err);
int hidden_mounts(int usr, bool local, struct err *err);
int hidden_private(int usr, bool local, const atomic_bool *cancel, struct err *err);

/* Changes where what is mounted below /usr does. Cheap when nothing has been mounted since. Under one lock. */
uint64_t hidden_mounts_stamp(void);
