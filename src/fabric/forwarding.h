/*
 * The host's forwarding (net.ipv4.ip_forward), turned on for the servers that ask for it and off again when the last of
 * them lets go. Turning it on changes other sysctls too, and off again not all of them back: what they were is kept, in
 * /run/haar/forwarding-<the network namespace's cookie>, beside the owners that need it. Where forwarding is on without
 * us, nothing is kept and nothing is restored.
 *
 * For the network namespace that the thread is in. Owners whose folder in /run/haar is gone need nothing any more.
 */
#pragma once

#include "base/err.h"

bool forwarding_is_on(void);

/* Makes the host forward, until this owner and all others have let go. */
int forwarding_claim(const char *owner, struct err *err);

/* Lets go; the last one restores. An owner that has claimed nothing: nothing. */
void forwarding_release(const char *owner);
