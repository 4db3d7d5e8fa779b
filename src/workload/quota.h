/*
 * Project quotas: what a file system itself keeps a folder to. A project is a number on that file system; each file in
 * the folder bears it, inherits it, and what all of them take together has a limit. Nobody in a machine can change the
 * number: the kernel refuses it in a user namespace, and the system call filter without one (guest/seccomp_build.c).
 *
 * ext4 and XFS have them, if they are mounted with `prjquota`; Linux 5.14 or later, for quotactl_fd. All is kept by the
 * file system: which project a folder is of too.
 */
#pragma once

#include "base/err.h"
#include "workload/usage.h"

/* 0: the file system of this folder holds projects to their limits. */
int quota_probe(const char *folder, struct err *err);

/* An empty folder becomes one of a project that nothing else is of; what is made in it is too. */
int quota_begin(const char *folder, struct err *err);

/* The folder itself, not what is in it, is of no project any more. */
int quota_leave(const char *folder, struct err *err);

/* 0: of none, or it cannot be said. */
uint32_t quota_project(const char *folder);

/* What a project may take on the file system of `folder`, from now on; what it has already stays. */
int quota_limit(const char *folder, uint32_t project, const struct usage *limit, struct err *err);

/* Nothing is of it any more: its number is free. Failure leaves a limit without files, which harms nothing. */
void quota_end(const char *folder, uint32_t project);
