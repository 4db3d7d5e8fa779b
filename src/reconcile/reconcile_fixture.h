/*
 * What tests of the reconcilers share: both of them over a store in memory, a driver that does nothing but notes what
 * it was told, and fails or waits when it is told to, and a clock that only the test moves. No time passes: what is to
 * happen in half a minute happens in the next line. The linker puts our tx_commit and log_line in front of the real
 * ones (meson.build), so that commits can be refused and lines counted.
 */
#pragma once

#include "operation/call.h"
#include "reconcile/instances.h"
#include "reconcile/networks.h"
#include "services/ec2/instance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define INSTANCE S("i-00000000000000001")
#define VPC S("vpc-00000000000000001")
#define GROUP S("sg-00000000000000001")
#define RULE S("sgr-00000000000000001")
#define INTERFACE S("eni-00000000000000001")

extern struct engine engine;
extern struct world *world;
extern struct instances *instances;

int open_world(void **state);
int close_world(void **state); /* ends the reconcilers as a server does; nothing is left open */
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

/* --- records ----------------------------------------------------------------------------------------------------- */

/* A transaction that is never refused. */
struct tx *edit(void);
void commit(struct tx *tx);

/* The instance, generation 1, with an interface of a group of one rule in a VPC. */
void make_instance(enum instance_state state);
void set_state(enum instance_state state);
void set_port(int port); /* the rule's */
void want_look(void);    /* the record changes, and is as before */
void ask_reboot(void);
void ask_stop(void);
void start(struct str type, bool public); /* generation 2; public: with a public address */
void start_again(void);
void change_vpc(void);
void delete_vpc(void);
enum instance_state state_of_instance(void); /* it is there */
const struct ec2_instance *instance_now(void);

bool there_is(const char *account); /* a world of it, in memory */
void others_read(int first); /* accounts that only read, more of them than the store keeps, from this number on */

/* --- what happens ------------------------------------------------------------------------------------------------- */

void driver_has(struct str id); /* before begin(): observe finds it running, ready and booted */
void begin(void);               /* the reconcilers start, on what the store has */
void begin_without_driver(void);

/* Does all that is to be done at this time, but for jobs that wait (hold). */
void settle(void);
/* The time goes on; each alarm rings at its time, and what comes of it is done. */
void pass_ms(int64_t ms);

void report(enum workload_event_kind kind);
void report_exit(struct workload_exit exit);

/* --- steps ----------------------------------------------------------------------------------------------------------
 */

enum step {
    ENSURE,
    STOP,
    REBOOT,
    REMOVE,
    OBSERVE,
    SET_VPC,
    SET_GROUP,
    SET_INTERFACE,
    REMOVE_VPC,
    COMMIT, /* the reconcilers' */
    STEPS,
};

enum { TRIES = 64, MINUTES = 60 * 1000 /* in ms */ };

void refuse(enum step step, unsigned times); /* the next ones; each with another reason */
void hold(enum step step);                   /* it waits in the driver */
void await(enum step step);                  /* … until it does */
void let_go(enum step step);

size_t tries(enum step step);
int64_t tried_ms(enum step step, size_t n); /* when, since begin() */
extern int told_port;                       /* of the last group that the driver took */

/* Lines in the log since begin(). */
size_t said_errors(void);
size_t said_infos(void);
