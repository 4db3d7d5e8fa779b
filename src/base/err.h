/*
 * What failed, and for whom. Functions return int: 0 success; negative = failure with *err filled, to be
 * forwarded unchanged; positive = an outcome that their header names.
 *
 * Two classes. An AWS error (err_aws, raised by services/, operation/ and aws/ only) is sent to the client
 * word for word. Any other is ours: logged once, at the boundary, and answered InternalError.
 * The text is kept inline, so an err needs no freeing.
 */
#pragma once

#include "base/str.h"

struct aws_error; /* aws/error.h */

struct err {
    const struct aws_error *aws; /* NULL: an error of ours */
    int number;                  /* errno, 0 if none */
    char text[1000];             /* NUL-terminated, cut when longer */
};

#define ERR_INIT ((struct err){.text = ""})

/* Each returns -1 (err_os: -errno) so that `return err_os(…)` reads well. */
int err_aws(struct err *err, const struct aws_error *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int err_os(struct err *err, int number, const char *format, ...) __attribute__((format(printf, 3, 4)));
int err_plain(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "what: " in front of an error of ours; leaves an AWS error as it is. */
int err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
