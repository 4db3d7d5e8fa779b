#include "base/log.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static const struct str names[] = {
    [LOG_ERROR] = {"error", 5}, [LOG_WARNING] = {"warning", 7}, [LOG_INFO] = {"info", 4}, [LOG_DEBUG] = {"debug", 5}};
static enum log_level wanted = LOG_INFO;

bool log_level_parse(struct str s, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_equal(s, names[i])) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

void log_set_level(enum log_level level)
{
    wanted = level;
}

bool log_wants(enum log_level level)
{
    return level <= wanted;
}

/* One write(2) a line, so that lines of several threads do not mix. */
void log_line(enum log_level level, const char *format, ...)
{
    char text[2048], line[4096];
    size_t n = 0;
    va_list args;

    if (!log_wants(level))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    n = (size_t)snprintf(line, sizeof line, "haar: " STR_FMT ": ", STR_ARG(names[level]));
    for (const char *at = text; *at && n < sizeof line - 8; at++) {
        unsigned char c = (unsigned char)*at;
        if (c < 0x20 || c == 0x7f)
            n += (size_t)snprintf(line + n, sizeof line - n, "\\x%02x", c);
        else
            line[n++] = (char)c;
    }
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return; /* nobody left to tell */
}
