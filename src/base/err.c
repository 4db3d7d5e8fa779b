#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FORMAT_INTO(text, format)                        \
    do {                                                 \
        va_list args;                                    \
        va_start(args, format);                          \
        vsnprintf((text), sizeof(text), (format), args); \
        va_end(args);                                    \
    } while (0)

int err_aws(struct err *err, const struct aws_error *code, const char *format, ...)
{
    err->aws = code;
    err->number = 0;
    FORMAT_INTO(err->text, format);
    return -1;
}

int err_os(struct err *err, int number, const char *format, ...)
{
    char what[800];

    FORMAT_INTO(what, format);
    err->aws = NULL;
    err->number = number;
    snprintf(err->text, sizeof err->text, "%s: %s", what, strerrordesc_np(number));
    return number > 0 ? -number : -1;
}

int err_plain(struct err *err, const char *format, ...)
{
    err->aws = NULL;
    err->number = 0;
    FORMAT_INTO(err->text, format);
    return -1;
}

int err_wrap(struct err *err, const char *format, ...)
{
    char what[400], text[sizeof err->text];

    if (err->aws)
        return -1;
    FORMAT_INTO(what, format);
    snprintf(text, sizeof text, "%s: %.*s", what, (int)(sizeof text - sizeof what - 3), err->text);
    memcpy(err->text, text, sizeof text);
    return err->number > 0 ? -err->number : -1;
}
