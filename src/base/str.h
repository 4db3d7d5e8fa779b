/*
 * Views of bytes. A struct str owns nothing: whoever made the bytes says how long they live. p == NULL
 * means "absent"; an empty string has a non-NULL p and len 0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    const char *p;
    size_t len;
};

#define S(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).len, (s).p ? (s).p : ""

/* A view of a NUL-terminated string; absent when NULL. */
struct str str_of(const char *z);

bool str_equal(struct str a, struct str b);
bool str_equal_nocase(struct str a, struct str b); /* ASCII */
int str_compare(struct str a, struct str b);       /* bytewise; shorter first; as memcmp */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_contains(struct str s, struct str part);
struct str str_skip(struct str s, size_t n); /* without its first n bytes (all, if shorter) */
struct str str_first(struct str s, size_t n);
struct str str_trim(struct str s); /* without ASCII white space at both ends */

/* Cuts at the first `separator`: returns what stands before it, leaves the rest in *s. Without one, takes all and
 * leaves *s absent. */
struct str str_cut(struct str *s, char separator);

/* AWS's filter wildcards: * any run, ? one character, \ takes the next literally. Linear in memory, no recursion. */
bool str_matches(struct str s, struct str pattern);

/* Decimal, whole string, no sign but '-', no blanks. False when it is not a number or does not fit. */
bool str_to_int(struct str s, int64_t *ret);

bool str_is_utf8(struct str s);
uint64_t str_hash(struct str s);

/* Copies into buf as a NUL-terminated string for a system call; false when it does not fit or holds a NUL. */
bool str_to_z(struct str s, char *buf, size_t size);
