/*
 * Descriptors: what AWS's models say of every shape, as read-only tables that tools/modelc writes. A codec
 * walks a C struct by its descriptor and knows no service.
 *
 * How a shape looks in C (the structs are in the generated <service>.h):
 *   string, enum, blob   struct str, absent when p is NULL (a blob holds the bytes, not their base64)
 *   integer, long        struct opt_int            boolean    struct opt_bool
 *   float, double        struct opt_double         timestamp  struct opt_time (milliseconds since 1970)
 *   list                 struct { T *items; size_t count; }: items NULL is absent, count 0 is empty
 *   structure            a pointer to its struct, NULL when absent; inline where it is a list's item
 *
 * Tables hold numbers, never pointers, so that they need no relocation and stay shared with the file.
 */
#pragma once

#include "base/arena.h"

struct opt_int {
    int64_t value;
    bool set;
};
struct opt_double {
    double value;
    bool set;
};
struct opt_time {
    int64_t ms;
    bool set;
};
struct opt_bool {
    bool value, set;
};
struct any_list { /* what every generated list looks like */
    void *items;
    size_t count;
};

#define INT(n) ((struct opt_int){.value = (n), .set = true})
#define DOUBLE(n) ((struct opt_double){.value = (n), .set = true})
#define TIME(n) ((struct opt_time){.ms = (n), .set = true})
#define BOOL(b) ((struct opt_bool){.value = (b), .set = true})
#define YES BOOL(true)
#define NO BOOL(false)

enum shape_kind {
    SHAPE_STRUCT,
    SHAPE_LIST,
    SHAPE_STRING,
    SHAPE_BLOB,
    SHAPE_INT,  /* 32 bits on the wire */
    SHAPE_LONG, /* 64 */
    SHAPE_DOUBLE,
    SHAPE_BOOL,
    SHAPE_TIME,
};

enum member_flag {
    MEMBER_REQUIRED = 1,
    MEMBER_TOKEN = 2,     /* an idempotency token */
    MEMBER_SENSITIVE = 4, /* never logged */
    MEMBER_ALWAYS = 8,    /* sent even when false, 0 or empty */
    MEMBER_PRIVATE = 16,  /* ours: stored, never on the wire */
};

enum shape_flag {
    SHAPE_FLATTENED = 1, /* a list without an element around its items (query protocol) */
    SHAPE_KEPT = 2,      /* a structure whose last member, if set, is its content, encoded already */
};

typedef uint32_t name_ref; /* a name in the model's pool */

struct shape {
    name_ref name;
    uint8_t kind, flags;
    uint16_t size;    /* bytes of its C type, as a list's item */
    uint16_t count;   /* members of a structure, values of an enum */
    uint16_t element; /* a list's item: index in shapes */
    uint32_t first;   /* a structure: its first member; an enum: its first value */
    name_ref item;    /* a list: its item's name on the wire */
    uint16_t range;   /* index in ranges; 0: none */
};

struct member {
    name_ref name;    /* as in the model: what messages say */
    name_ref in, out; /* on the wire: in a request, in an answer */
    uint16_t shape;   /* index in shapes */
    uint16_t offset;  /* bytes into the struct */
    uint16_t flags;   /* enum member_flag */
    uint16_t by_in;   /* the struct's n-th member in the order of `in`: index relative to its first */
};

struct range {
    int64_t min, max; /* of a number, or of a string's or list's length; INT64_MIN, INT64_MAX: open */
};

enum protocol { PROTOCOL_EC2, PROTOCOL_QUERY };

struct call;
struct err;
typedef int operation_handler(struct call *call, const void *in, void *out, struct err *err);

enum { NO_MEMBER = 0xffff, NO_SHAPE = 0xffff };

struct operation {
    name_ref name;
    uint16_t input, output; /* shapes; NO_SHAPE: none */
    name_ref result;        /* query protocol: the element around the answer */
    uint16_t dry_run;       /* input's members, relative to its first; NO_MEMBER: none */
    uint16_t client_token;
    uint16_t tag_specifications;
    uint16_t handler; /* index in the service's handlers; 0: not built */
};

struct service {
    const char *id;      /* "ec2": SigV4's name and ours */
    const char *version; /* "2016-11-15" */
    const char *xmlns;   /* of an answer */
    enum protocol protocol;
    const char *pool; /* names: a byte of length, the bytes, NUL */
    const struct shape *shapes;
    const struct member *members;
    const name_ref *enums; /* values, sorted within an enum */
    const struct range *ranges;
    const struct operation *operations; /* sorted by name */
    operation_handler *const *handlers;
    uint16_t shape_count, operation_count;
    uint32_t member_count;
};

static inline struct str service_name(const struct service *service, name_ref ref)
{
    return (struct str){service->pool + ref + 1, (unsigned char)service->pool[ref]};
}

const struct operation *service_operation(const struct service *service, struct str name); /* NULL: unknown */
const struct member *shape_member(const struct service *service, const struct shape *shape, struct str name);
bool shape_has_value(const struct service *service, const struct shape *shape, struct str value); /* an enum's */

/* Is the member at p (a pointer into its struct) there? */
bool shape_present(const struct shape *shape, const void *p);

/*
 * A deep copy. shape_copy_size: bytes of everything that hangs on `from` (without the struct itself).
 * shape_copy: copies the struct to `to` and what hangs on it to *at, which it moves on. Strings get a NUL.
 */
size_t shape_copy_size(const struct service *service, const struct shape *shape, const void *from);
void shape_copy(const struct service *service, const struct shape *shape, const void *from, void *to, char **at);
void *shape_copy_to_arena(const struct service *service, const struct shape *shape, const void *from,
                          struct arena *arena);

/* A member's value as text, as filters compare it: true, 8080, 2026-11-25T12:44:00.000Z. `out` holds what is not stored
 * as text. */
enum { SHAPE_TEXT_SIZE = 40 };
struct str shape_text(const struct shape *shape, const void *p, char out[SHAPE_TEXT_SIZE]);

/* A path: members (index in service->members) from a structure down, lists entered on the way; ends with NO_MEMBER. */
typedef uint16_t path_step;

/* Calls `each` with every value that the path reaches; stops when it returns true, and returns that. */
bool shape_walk(const struct service *service, const void *structure, const path_step *path,
                bool (*each)(void *cookie, const struct shape *shape, const void *value), void *cookie);
