#include "base/id.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t seed_state;

/* splitmix64: for repeatable tests only. */
static uint64_t seeded_next(void)
{
    uint64_t z = seed_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void id_seed(uint64_t seed)
{
    seed_state = seed;
}

void id_bytes(void *p, size_t size)
{
    static unsigned char pool[1024];
    static size_t left;
    unsigned char *at = p;

    for (; size; size--) {
        if (seed_state) {
            *at++ = (unsigned char)seeded_next();
            continue;
        }
        if (left == 0) {
            if (getrandom(pool, sizeof pool, 0) != (ssize_t)sizeof pool)
                abort();
            left = sizeof pool;
        }
        *at++ = pool[--left];
    }
}

static const char hex[] = "0123456789abcdef";

struct str id_new(struct arena *arena, struct str prefix)
{
    enum { DIGITS = 17 };
    char *p = arena_alloc(arena, prefix.len + DIGITS + 1);
    unsigned char random[DIGITS];

    memcpy(p, prefix.p, prefix.len);
    id_bytes(random, sizeof random);
    /* AWS's long ids begin with 0. */
    p[prefix.len] = '0';
    for (size_t i = 1; i < DIGITS; i++)
        p[prefix.len + i] = hex[random[i] & 15];
    return (struct str){p, prefix.len + DIGITS};
}

struct str id_uuid(char out[ID_UUID_SIZE])
{
    unsigned char b[16];
    char *at = out;

    id_bytes(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = hex[b[i] >> 4];
        *at++ = hex[b[i] & 15];
    }
    *at = '\0';
    return (struct str){out, ID_UUID_SIZE - 1};
}
