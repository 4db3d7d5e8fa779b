#include "base/time.h"

#include <stdio.h>
#include <time.h>

static int64_t offset_ms;

void time_set_offset_ms(int64_t offset)
{
    offset_ms = offset;
}

int64_t time_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + offset_ms;
}

int64_t time_monotonic_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Days from civil and back: Howard Hinnant's algorithms, without libc's time zone locks. */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    int64_t era, yoe, doy;

    y -= m <= 2;
    era = (y >= 0 ? y : y - 399) / 400;
    yoe = y - era * 400;
    doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void put_digits(char *p, int n, int64_t value)
{
    while (n--) {
        p[n] = (char)('0' + value % 10);
        value /= 10;
    }
}

struct str time_iso(int64_t ms, char out[TIME_ISO_SIZE])
{
    static const char shape[] = "0000-00-00T00:00:00.000Z";
    const int64_t day_ms = 86400000;
    int64_t days = ms / day_ms - (ms % day_ms < 0), rest = ms - days * day_ms;
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t d = doy - (153 * mp + 2) / 5 + 1, m = mp < 10 ? mp + 3 : mp - 9, y = yoe + era * 400 + (m <= 2);

    for (size_t i = 0; i < sizeof shape; i++)
        out[i] = shape[i];
    put_digits(out, 4, y);
    put_digits(out + 5, 2, m);
    put_digits(out + 8, 2, d);
    put_digits(out + 11, 2, rest / 3600000);
    put_digits(out + 14, 2, rest / 60000 % 60);
    put_digits(out + 17, 2, rest / 1000 % 60);
    put_digits(out + 20, 3, rest % 1000);
    return (struct str){out, sizeof shape - 1};
}

/* Takes n digits from the front of *s. */
static bool take_digits(struct str *s, size_t n, int64_t *ret)
{
    if (s->len < n || s->p[0] == '-' || !str_to_int(str_first(*s, n), ret))
        return false;
    *s = str_skip(*s, n);
    return true;
}

static bool take_byte(struct str *s, char c)
{
    if (s->len == 0 || s->p[0] != c)
        return false;
    *s = str_skip(*s, 1);
    return true;
}

static bool take_fraction(struct str *s, int64_t *ret_ms)
{
    int64_t scale = 100;

    *ret_ms = 0;
    if (!take_byte(s, '.'))
        return true;
    if (s->len == 0 || s->p[0] < '0' || s->p[0] > '9')
        return false;
    for (; s->len && s->p[0] >= '0' && s->p[0] <= '9'; *s = str_skip(*s, 1), scale /= 10)
        *ret_ms += (s->p[0] - '0') * scale;
    return true;
}

static bool take_zone(struct str *s, int64_t *ret_minutes)
{
    int64_t hours, minutes;
    bool minus;

    *ret_minutes = 0;
    if (s->len == 0 || take_byte(s, 'Z'))
        return true;
    minus = s->p[0] == '-';
    if (!take_byte(s, minus ? '-' : '+') || !take_digits(s, 2, &hours))
        return false;
    take_byte(s, ':');
    if (!take_digits(s, 2, &minutes))
        return false;
    *ret_minutes = (hours * 60 + minutes) * (minus ? -1 : 1);
    return true;
}

/* What time_iso can write: the years 0 to 9999. */
static bool is_writable(int64_t ms)
{
    return ms >= -62167219200000 && ms <= 253402300799999;
}

bool time_parse(struct str s, int64_t *ret_ms)
{
    int64_t y, mo, d, h, mi, se, fraction, zone, seconds;

    if (s.len <= 12 && str_to_int(s, &seconds)) {
        *ret_ms = seconds * 1000;
        return is_writable(*ret_ms);
    }
    if (!take_digits(&s, 4, &y) || !take_byte(&s, '-') || !take_digits(&s, 2, &mo) || !take_byte(&s, '-') ||
        !take_digits(&s, 2, &d))
        return false;
    h = mi = se = fraction = zone = 0;
    if (s.len) {
        if (!take_byte(&s, 'T') || !take_digits(&s, 2, &h) || !take_byte(&s, ':') || !take_digits(&s, 2, &mi) ||
            !take_byte(&s, ':') || !take_digits(&s, 2, &se) || !take_fraction(&s, &fraction) || !take_zone(&s, &zone))
            return false;
    }
    if (s.len || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || se > 60)
        return false;
    *ret_ms = (((days_from_civil(y, mo, d) * 24 + h) * 60 + mi - zone) * 60 + se) * 1000 + fraction;
    return is_writable(*ret_ms);
}
