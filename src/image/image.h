/*
 * Root file systems. An image is a list of read-only folders, topmost first, that an overlay lays over each other.
 * Two are built in and made on the spot, from what the host has:
 *   tiny   the host's static busybox and its applets
 *   host   the host's /usr under a generated root: an /etc of what everybody may read and a machine needs, and
 *          nothing of /home, /root, /var; of /usr what everybody may read, and no /usr/local (hidden.h)
 */
#pragma once

#include "base/err.h"

#include <stdatomic.h>

enum { IMAGE_LAYERS = 2, IMAGE_PATH = 256 };

struct image {
    char layers[IMAGE_LAYERS][IMAGE_PATH];     /* of the root */
    char usr_layers[IMAGE_LAYERS][IMAGE_PATH]; /* of /usr where that is an overlay of its own, else empty */
    bool usr_is_viewed; /* to be laid as an unprivileged user of the host sees it; else what is private is hidden */
};

/* "host" where it can be had (it has bash), else "tiny". */
struct str image_default(void);

/* Whether /usr can be laid as an unprivileged user sees it: not where it is an overlay itself, nor once it has been
 * found that this kernel opens nothing through such a view. */
bool image_is_viewed(void);
void image_forgo_view(void);

/* 0, or why this host cannot make any image. */
int image_probe(struct err *err);

/*
 * Makes the image `name` under `folder` (created), once as long as what it is made from stays; later calls find it. Any
 * thread. `init` is our init program, which serves as poweroff, reboot and halt inside; `local`: the host image shows
 * the host's /usr/local too. `cancel`, if any: once it is
 * true what is being made is given up, which is an error.
 */
int image_prepare(const char *folder, struct str name, struct str init, bool local, const atomic_bool *cancel,
                  struct image *ret_image, struct err *err);
