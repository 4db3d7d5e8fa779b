/*
 * What tests of the fabric with real packets share: guests are network namespaces with sockets of this process in them,
 * the host is a namespace of its own too, so nothing of the real host is touched. Needs root.
 */
#pragma once

#include "base/buf.h"
#include "fabric/fabric.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>

/* Each program's own, as they run side by side: eight characters. Its state folder is /tmp/haar-OWNER/OWNER. */
extern const char *fixture_owner;

enum { HOST = 0xcb007101 /* 203.0.113.1 */, ELSEWHERE = 0xcb007102, WAIT_MS = 150 };

extern bool able; /* this host can do it */
extern int host;  /* the namespace that stands for it */
extern struct fabric *fabric;
extern struct fabric_cidr pool;

#define NEEDS_ABLE() \
    do {             \
        if (!able)   \
            skip();  \
    } while (0)

void must(int r, struct err *err);

/* ---- what is told ---- */

#define ALL                    \
    {                          \
        .protocol = FABRIC_ANY \
    }
#define ALL_OUT                                \
    {                                          \
        .protocol = FABRIC_ANY, .egress = true \
    }
#define TCP_IN(port)                                \
    {                                               \
        .protocol = 6, .from = (port), .to = (port) \
    }

extern const struct fabric_rule nothing[1];
extern const struct fabric_rule only_out[1];
extern const struct fabric_rule in_80[2];
extern const struct fabric_rule open_rules[2];

struct fabric_group group(const char *id, const struct fabric_rule *rules, size_t count);
/* 10.0.0.0/16 with two subnets, the second without a route out. */
void describe(const char *id, bool gateway, const struct fabric_group *groups, size_t count);
void set_group(const char *vpc, const char *id, const struct fabric_rule *rules, size_t count);

/* ---- guests ---- */

struct guest {
    const char *id, *vpc, *group;
    uint32_t address, public;
    int fd;
};

void enter(int fd);
void make_guest(struct guest *guest);
void attach(struct guest *guest);
void add(struct guest *guest);
void set_interface(const struct guest *guest);
void drop(struct guest *guest);

int socket_in(int where, int type, int protocol);
struct sockaddr_in place(uint32_t address, uint16_t port);
int listen_in(int where, int type, uint16_t port);
bool ready(int fd, short what);
/* A connected socket, or -1. */
int connect_from(int where, uint32_t address, uint16_t port);
bool reaches(int where, uint32_t address, uint16_t port);
bool pings(int where, uint32_t address);
/* Who called, as the guest sees it; 0: nobody. The connection stays open in *ret. */
uint32_t accept_one(int listener, int *ret);
bool passes(int from, int to, char c);

/* ---- the fabric ---- */

void reopen(struct fabric_config config);
void open_fabric(void);
void adopt(const struct guest *guest);

/* ---- the world ---- */

/* A test that failed leaves nothing to the next. */
int forget(void **state);
int open_world(void **state);
int close_world(void **state);
