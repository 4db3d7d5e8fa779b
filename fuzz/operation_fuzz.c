/*
 * Whole operations: every one that is built, called as a client calls it (a form, decoded, validated, handled, encoded)
 * on an engine with records in memory. The input chooses: which operation, which members, and values that a client
 * could send: what the model names, ids that exist, numbers at their edges, empty and huge lists, the wrong kind of
 * thing.
 *
 * What must hold: nothing breaks (sanitizers), a call that fails has changed nothing, an answer is UTF-8.
 */
#include "base/mem.h"
#include "reconcile/clock.h"
#include "reconcile/instances.h"
#include "services/call_fixture.h"
#include "services/services.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ACCOUNT "123456789012"
#define IMAGE "ami-000c540e28953ace2"

enum {
    DRAWN = 2000,     /* choices past the input's end */
    CALLS = 6,        /* of one input, one after the other in one world */
    MEMBERS_DEEP = 6, /* structures inside each other */
    IDS_KNOWN = 128,
    IDS_TOLD = 24,
    HUGE_LIST = 2000,
    FORM_LIMIT = 1 << 20,
};

static const struct operation *built[1024];
static const struct service *built_of[1024];
static unsigned built_count;

/*
 * What the input has left. Past its end the choices go on, as if drawn: short inputs make whole calls too. When those
 * are used up everything is 0, which means "nothing" wherever it is asked.
 */
struct choices {
    const uint8_t *at, *end;
    uint64_t drawn; /* the generator's state, from the input */
    unsigned left;  /* to be drawn */
};

static unsigned choose(struct choices *c, unsigned count)
{
    if (c->at < c->end)
        return *c->at++ % count;
    if (!c->left)
        return 0;
    c->left--;
    c->drawn = c->drawn * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(c->drawn >> 33) % count;
}

struct writer {
    const struct service *service;
    struct choices *choices;
    struct arena *arena;
    struct buf *form;
    struct str ids[IDS_KNOWN];
    unsigned id_count;
};

/* --- a form ------------------------------------------------------------------------------------------------------ */

static void put_pair(struct writer *w, struct str name, struct str value)
{
    static const char hex[] = "0123456789ABCDEF";

    if (w->form->len > FORM_LIMIT)
        return;
    if (w->form->len)
        buf_byte(w->form, '&');
    buf_append(w->form, name);
    buf_byte(w->form, '=');
    for (size_t i = 0; i < value.len; i++) {
        unsigned char byte = (unsigned char)value.p[i];
        buf_byte(w->form, '%');
        buf_byte(w->form, hex[byte >> 4]);
        buf_byte(w->form, hex[byte & 15]);
    }
}

static struct str a_number(struct writer *w)
{
    static const char *const numbers[] = {"1",
                                          "0",
                                          "-1",
                                          "2",
                                          "5",
                                          "8",
                                          "22",
                                          "28",
                                          "100",
                                          "255",
                                          "256",
                                          "1000",
                                          "1001",
                                          "65535",
                                          "65536",
                                          "-7",
                                          "4294967295",
                                          "2147483647",
                                          "3000",
                                          "50",
                                          "-2147483648",
                                          "2147483648",
                                          "-2147483649",
                                          "1e3",
                                          "0x10",
                                          " 3 ",
                                          "",
                                          "many",
                                          "60",
                                          "9223372036854775807",
                                          "-9223372036854775808",
                                          "18446744073709551616"};

    return str_of(numbers[choose(w->choices, ARRAY_LEN(numbers))]);
}

static struct str some_bytes(struct writer *w)
{
    size_t left = (size_t)(w->choices->end - w->choices->at), len = choose(w->choices, 24);
    struct str bytes = {(const char *)w->choices->at, len < left ? len : left};

    if (len >= left)
        return S("x");
    w->choices->at += len;
    return bytes;
}

/* What a member of such a name takes, as far as that is known: an id that exists, or one of some texts. */
static struct str fitting(struct writer *w, struct str member)
{
    static const struct {
        const char *ends, *id_prefix, *texts[6];
    } rows[] = {
        {"VpcId", "vpc-", {0}},
        {"SubnetId", "subnet-", {0}},
        {"GroupId", "sg-", {0}},
        {"SecurityGroup", "sg-", {0}},
        {"SecurityGroupRuleId", "sgr-", {0}},
        {"InstanceId", "i-", {0}},
        {"GatewayId", "igw-", {0}},
        {"RouteTableId", "rtb-", {0}},
        {"NetworkInterfaceId", "eni-", {0}},
        {"VolumeId", "vol-", {0}},
        {"AllocationId", "eipalloc-", {0}},
        {"KeyPairId", "key-", {0}},
        {"ImageId", "ami-", {0}},
        {"AssociationId", "rtbassoc-", {0}},
        {"AssociationId", "eipassoc-", {0}},
        {"AttachmentId", "eni-attach-", {0}},
        {"Cidr", NULL, {"10.0.0.0/16", "10.0.1.0/24", "0.0.0.0/0", "172.31.0.0/20", "10.0.0.0/28", "10.1.2.3/32"}},
        {"CidrBlock", NULL, {"10.0.0.0/16", "10.0.1.0/24", "0.0.0.0/0", "10.2.0.0/16", "10.0.0.0/28", "10.1.2.3/32"}},
        {"CidrIp", NULL, {"10.0.0.0/16", "10.0.1.0/24", "0.0.0.0/0", "10.2.0.0/16", "10.0.0.0/28", "10.1.2.3/32"}},
        {"CidrIpv6", NULL, {"::/0", "2001:db8::/33", "2001:db8::1/128", "::/1", "fe80::/10", "::1/64"}},
        {"IpProtocol", NULL, {"tcp", "udp", "icmp", "-1", "50", "icmpv6"}},
        {"InstanceType", NULL, {"t3.micro", "t2.nano", "m5.large", "t3.micro", "c5.xlarge", "t4g.small"}},
        {"AvailabilityZone",
         NULL,
         {"us-east-1a", "us-east-1b", "us-east-1f", "us-east-1a", "us-east-1c", "eu-west-1a"}},
        {"ResourceType", NULL, {"instance", "vpc", "subnet", "security-group", "key-pair", "volume"}},
        {"KeyName", NULL, {"k", "k2", "k", "k", "k", "k"}},
        {"GroupName", NULL, {"default", "g", "g2", "g", "g3", "g"}},
        {"Key", NULL, {"k", "Name", "k", "l", "k", "aws:x"}},
        {"Name", NULL, {"vpc-id", "tag:k", "tag-key", "instance-state-name", "group-id", "state"}},
        {"Count", NULL, {"1", "1", "1", "2", "3", "0"}},
        {"DeviceIndex", NULL, {"0", "0", "1", "1", "2", "0"}},
        {"Port", NULL, {"22", "0", "80", "443", "65535", "-1"}},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned from = choose(w->choices, IDS_KNOWN);

        if (!str_ends(member, str_of(rows[i].ends)))
            continue;
        if (!rows[i].id_prefix)
            return str_of(rows[i].texts[choose(w->choices, 6)]);
        for (unsigned n = 0; n < w->id_count; n++)
            if (str_starts(w->ids[(from + n) % w->id_count], str_of(rows[i].id_prefix)))
                return w->ids[(from + n) % w->id_count];
    }
    return (struct str){0};
}

static struct str a_text(struct writer *w, const struct shape *shape, struct str member)
{
    static const char *const texts[] = {"10.0.0.0/16",
                                        "172.31.0.0/20",
                                        "10.0.1.0/24",
                                        "172.31.0.4",
                                        "172.31.15.255",
                                        "0.0.0.0/0",
                                        "::/0",
                                        "2001:db8::/33",
                                        "10.0.0.0/33",
                                        "t3.micro",
                                        "m5.large",
                                        "default",
                                        "tcp",
                                        "-1",
                                        "icmp",
                                        "50",
                                        "us-east-1a",
                                        "gp3",
                                        "io2",
                                        "/dev/xvda",
                                        "/dev/sdf",
                                        "true",
                                        "sourceDestCheck",
                                        "*",
                                        "name",
                                        "tag:k",
                                        "k",
                                        "instance",
                                        "terminate",
                                        "vpc",
                                        "aws:x",
                                        "2026-01-01T00:00:00Z",
                                        "",
                                        "unlimited",
                                        "ena",
                                        "c3NoLXJzYSBBQUFB",
                                        "i-00000000000000000",
                                        "i-xyz",
                                        "vpc-1",
                                        "sg-00000000000000000",
                                        "\xed\xa0\x80",
                                        "\xef\xbf\xbf"};

    switch (choose(w->choices, 16)) {
    default:
        if (!shape->count && fitting(w, member).p)
            return fitting(w, member);
        if (shape->count && w->service->enums)
            return service_name(w->service, w->service->enums[shape->first + choose(w->choices, shape->count)]);
        if (w->id_count)
            return w->ids[choose(w->choices, w->id_count)];
        return S("x");
    case 3:
        return some_bytes(w);
    case 4: {
        static char longest[5000];
        memset(longest, 'a', sizeof longest);
        return (struct str){longest, choose(w->choices, 2) ? sizeof longest : 256};
    }
    case 5:
    case 6:
        return str_of(texts[choose(w->choices, ARRAY_LEN(texts))]);
    }
}

static void put_struct(struct writer *w, struct str prefix, const struct shape *shape, unsigned depth);

static void put_value(struct writer *w, struct str name, const struct shape *shape, struct str member, unsigned depth)
{
    static const char *const switches[] = {"true", "false", "True", "1", ""};

    if (choose(w->choices, 200) == 199) { /* another kind of thing */
        put_pair(w, arena_printf(w->arena, STR_FMT ".%u.x", STR_ARG(name), choose(w->choices, 3)), S("1"));
        return;
    }
    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRUCT:
        put_struct(w, arena_printf(w->arena, STR_FMT ".", STR_ARG(name)), shape, depth + 1);
        return;
    case SHAPE_LIST: {
        static const unsigned counts[] = {1, 1, 1, 2, 3, 0, 40, HUGE_LIST};
        unsigned count = counts[choose(w->choices, ARRAY_LEN(counts))];
        const struct shape *element = &w->service->shapes[shape->element];
        const char *item = w->service->protocol == PROTOCOL_QUERY && !(shape->flags & SHAPE_FLATTENED) ? ".member" : "";

        if (!count)
            put_pair(w, name, S(""));
        for (unsigned i = 1; i <= count; i++)
            put_value(w, arena_printf(w->arena, STR_FMT "%s.%u", STR_ARG(name), item, i), element, member, depth);
        return;
    }
    case SHAPE_INT:
    case SHAPE_LONG:
    case SHAPE_DOUBLE: {
        struct str value = choose(w->choices, 2) ? fitting(w, member) : a_number(w);

        put_pair(w, name, value.p ? value : a_number(w));
        return;
    }
    case SHAPE_BOOL:
        put_pair(w, name, str_of(switches[choose(w->choices, ARRAY_LEN(switches))]));
        return;
    case SHAPE_STRING:
    case SHAPE_BLOB:
    case SHAPE_TIME:
        put_pair(w, name, a_text(w, shape, member));
        return;
    }
}

/* Members that the model calls optional and that nearly every call of their operation has. */
static bool is_usual(struct str name)
{
    static const char *const usual[] = {
        "GroupId",   "CidrBlock",  "DestinationCidrBlock", "AllocationId", "AssociationId",
        "GatewayId", "IpProtocol", "InstanceId",           "IpRanges",     "SubnetId",
        "CidrIp",    "Name",       "InstanceIds",          "Description"};

    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        if (str_equal(name, str_of(usual[i])))
            return true;
    return false;
}

/* Required members nearly always, usual ones often, others rarely, now and then or often. */
static void put_struct(struct writer *w, struct str prefix, const struct shape *shape, unsigned depth)
{
    static const unsigned sparse[] = {40, 12, 4, 2};
    unsigned one_in = sparse[choose(w->choices, ARRAY_LEN(sparse))];

    if (depth > MEMBERS_DEEP)
        return;
    for (unsigned i = 0; i < shape->count; i++) {
        const struct member *member = &w->service->members[shape->first + i];
        bool wanted = member->flags & MEMBER_REQUIRED                  ? choose(w->choices, 32) != 31
                      : is_usual(service_name(w->service, member->in)) ? choose(w->choices, 3) != 2
                                                                       : choose(w->choices, one_in) == one_in - 1;

        if (wanted && !(member->flags & MEMBER_PRIVATE))
            put_value(
                w,
                arena_printf(w->arena, STR_FMT STR_FMT, STR_ARG(prefix), STR_ARG(service_name(w->service, member->in))),
                &w->service->shapes[member->shape], service_name(w->service, member->in), depth);
    }
}

/* --- the engine -------------------------------------------------------------------------------------------------- */

static struct world *the_world(void)
{
    return store_world(fixture_engine.store, S(ACCOUNT), fixture_engine.region);
}

/* Ids of what is no record of its own, as answers say them: associations, attachments. */
static char told[IDS_TOLD][40];
static unsigned told_count;

static void note_told(struct str body)
{
    static const char *const prefixes[] = {"rtbassoc-", "eipassoc-", "eni-attach-"};

    for (; body.len > 40 && told_count < IDS_TOLD; body = str_skip(body, 1))
        for (size_t i = 0; body.p[0] == '>' && i < ARRAY_LEN(prefixes); i++)
            if (str_starts(str_skip(body, 1), str_of(prefixes[i])))
                snprintf(told[told_count++], sizeof *told, "%.*s", (int)strlen(prefixes[i]) + 17, body.p + 1);
}

/* The first and the newest few of each kind, and an image. */
static void learn_ids(struct writer *w)
{
    struct tx *tx = tx_begin(fixture_engine.store, the_world(), w->arena, S("learn"));

    w->ids[w->id_count++] = S(IMAGE);
    for (size_t kind = 0; kind < service_kind_count; kind++) {
        const void *record;
        uint64_t position = 0;
        for (unsigned n = 0; n < 4 && w->id_count < IDS_KNOWN && (record = tx_next(tx, (uint16_t)kind, &position)); n++)
            w->ids[w->id_count++] = arena_str(
                w->arena, *(const struct str *)((const char *)record + service_kinds[kind].id_offset));
    }
    tx_rollback(tx);
    for (unsigned n = 0; n < told_count && w->id_count < IDS_KNOWN; n++)
        w->ids[w->id_count++] = str_of(told[n]);
}

static void start(void)
{
    static struct workload_backend none;

    fixture_open();
    instances_start(instances_new(&fixture_engine, &clock_of_host), &none, S("tiny"));
    for (const struct service *const *at = services; *at; at++)
        for (unsigned i = 0; i < (*at)->operation_count; i++)
            if ((*at)->operations[i].handler) {
                built[built_count] = &(*at)->operations[i];
                built_of[built_count++] = *at;
            }
}

/* A form that cannot be read is let go. */
static void call_form(const struct service *service, const struct operation *operation, struct str text)
{
    struct fixture_call made;

    if (!fixture_start(&made, ACCOUNT, service, operation, text))
        return;
    fixture_wait(&made);
    if (made.r < 0 && (made.call.wrote || store_last(fixture_engine.store) != made.before))
        abort();
    if (!str_is_utf8(buf_str(&made.body)))
        abort();
    if (made.r == 0)
        note_told(buf_str(&made.body));
    fixture_end(&made);
    kept_trim(&fixture_engine.kept);
}

/* Something to work on: without it most calls end at an id that is not there. */
static void furnish(void)
{
    static const struct {
        const char *name, *form;
    } calls[] = {
        {"RunInstances",
         "ImageId=" IMAGE "&MinCount=2&MaxCount=2&InstanceType=t3.micro&TagSpecification.1.ResourceType="
         "instance&TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=v"},
        {"AllocateAddress", "Domain=vpc"},
        {"CreateVpc", "CidrBlock=10.0.0.0%2F16"},
        {"CreateSecurityGroup", "GroupName=g&GroupDescription=g"},
        {"CreateInternetGateway", ""},
        {"DescribeRouteTables", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        const struct service *service;
        const struct operation *operation = fixture_operation(str_of(calls[i].name), &service);

        call_form(service, operation, str_of(calls[i].form));
    }
}

static void call_one(struct choices *choices)
{
    AUTO_ARENA arena = ARENA_INIT;
    AUTO_BUF text = BUF_INIT;
    struct writer w = {.choices = choices, .arena = &arena, .form = &text};
    unsigned n = choose(choices, 256) % built_count;
    const struct operation *operation = built[n];

    if (str_equal(service_name(built_of[n], operation->name), S("CreateKeyPair")) && choose(choices, 16))
        return; /* an RSA key takes as long as all the others */
    w.service = built_of[n];
    learn_ids(&w);
    if (operation->input != NO_SHAPE)
        put_struct(&w, S(""), &w.service->shapes[operation->input], 0);
    call_form(w.service, operation, buf_str(&text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choices choices = {data, data + size, str_hash((struct str){(const char *)data, size}), DRAWN};
    struct err err = ERR_INIT;

    if (!built_count)
        start();
    told_count = 0;
    if (choose(&choices, 4))
        furnish();
    for (unsigned i = 0; i < CALLS; i++) {
        call_one(&choices);
        uv_run(fixture_engine.loop, UV_RUN_NOWAIT); /* what follows from it: pending becomes running */
    }
    if (store_reset(fixture_engine.store, (struct str){0}, &err) < 0)
        abort();
    for (unsigned i = 0; i < 4; i++)
        uv_run(fixture_engine.loop, UV_RUN_NOWAIT);
    return 0;
}
