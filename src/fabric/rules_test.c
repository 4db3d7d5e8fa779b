/*
 * Rules as `nft -p list ruleset` reads them, in a network namespace of the test's own. Needs root; nft is
 * installed with the other things that tests need, and without it they fail.
 */
#include "fabric/rules.h"
#include "base/fd.h"
#include "base/mem.h"
#include "fabric/fabric.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL ((struct fabric_cidr){0xc6120000, 20})

static bool able;
static int kept = -1; /* a socket in the test's namespace */

#define NEEDS_ABLE() \
    do {             \
        if (!able)   \
            skip();  \
    } while (0)

static void list_ruleset(struct buf *out)
{
    FILE *nft = popen("nft -p list ruleset", "r");
    size_t n;

    assert_non_null(nft);
    while ((n = fread(buf_reserve(out, 4096), 1, 4096, nft)) > 0)
        out->len += n;
    pclose(nft);
    buf_byte(out, '\0');
}

static void must_send(struct nft_batch *batch)
{
    struct err err = ERR_INIT;

    if (nft_send_over(batch, &kept, &err) < 0)
        fail_msg("%s", err.text);
}

static void assert_ruleset(const char *expected)
{
    AUTO_BUF text = BUF_INIT;

    list_ruleset(&text);
    assert_string_equal(text.p, expected);
}

static int fresh_namespace(void **state)
{
    fd_close(&kept);
    if (able)
        assert_int_equal(unshare(CLONE_NEWNET), 0);
    return 0;
}

/* ---- golden text ---- */

static struct attached *make_interface(struct vpc *vpc, const char *id, uint32_t address, uint32_t public,
                                       const char *group)
{
    struct fabric_address addresses[] = {{address, public}};
    struct str groups[] = {str_of(group)};
    struct fabric_interface interface = {.id = str_of(id),
                                         .vpc_id = S("vpc-1"),
                                         .subnet_id = S("subnet-1"),
                                         .addresses = addresses,
                                         .address_count = 1,
                                         .groups = groups,
                                         .group_count = 1,
                                         .source_dest_check = true};
    struct attached *attached = model_interface_new(vpc, &interface);

    attached->combination = model_combination(vpc, groups, 1);
    attached->mark = 3;
    return attached;
}

static void set_rules(struct nft_batch *batch, struct vpc *vpc, const char *id, const struct fabric_rule *rules,
                      size_t count)
{
    struct fabric_group group = {.id = str_of(id), .rules = rules, .count = count};

    rules_set_group(batch, model_group(vpc, group.id), model_rules(vpc, &group), count);
}

static const char golden[] = "table inet haar_test {\n"
                             "\tmap if_mark {\n"
                             "\t\ttype ifname : mark\n"
                             "\t\telements = { \"eeni-1\" : 0x00000003 }\n"
                             "\t}\n"
                             "\n"
                             "\tset checked {\n"
                             "\t\ttype ifname\n"
                             "\t\telements = { \"eeni-1\" }\n"
                             "\t}\n"
                             "\n"
                             "\tset eni_addr {\n"
                             "\t\ttype ifname . ipv4_addr\n"
                             "\t\telements = { \"eeni-1\" . 10.0.0.5 }\n"
                             "\t}\n"
                             "\n"
                             "\tmap eip_dnat {\n"
                             "\t\ttype ipv4_addr : ipv4_addr\n"
                             "\t\telements = { 198.18.0.5 : 10.0.0.5 }\n"
                             "\t}\n"
                             "\n"
                             "\tmap eip_snat {\n"
                             "\t\ttype ipv4_addr : ipv4_addr\n"
                             "\t\telements = { 10.0.0.5 : 198.18.0.5 }\n"
                             "\t}\n"
                             "\n"
                             "\tmap sg_out {\n"
                             "\t\ttype ifname : verdict\n"
                             "\t\telements = { \"eeni-1\" : goto of_887771311d45f013_out }\n"
                             "\t}\n"
                             "\n"
                             "\tmap sg_in {\n"
                             "\t\ttype ifname : verdict\n"
                             "\t\telements = { \"eeni-1\" : goto of_887771311d45f013_in }\n"
                             "\t}\n"
                             "\n"
                             "\tset services {\n"
                             "\t\ttype ipv4_addr . inet_proto . inet_service\n"
                             "\t}\n"
                             "\n"
                             "\tset at_sg_1 {\n"
                             "\t\ttype ipv4_addr\n"
                             "\t\telements = { 10.0.0.5 }\n"
                             "\t}\n"
                             "\n"
                             "\tchain pre_raw {\n"
                             "\t\ttype filter hook prerouting priority raw; policy accept;\n"
                             "\t\tiifname @checked jump antispoof\n"
                             "\t\tiifname \"igw0\" ip daddr != 198.18.0.0/20 counter packets 0 bytes 0 drop\n"
                             "\t\tmeta mark set iifname map @if_mark\n"
                             "\t}\n"
                             "\n"
                             "\tchain pre_nat {\n"
                             "\t\ttype nat hook prerouting priority dstnat; policy accept;\n"
                             "\t\tiifname \"igw0\" dnat ip to ip daddr map @eip_dnat\n"
                             "\t}\n"
                             "\n"
                             "\tchain input {\n"
                             "\t\ttype filter hook input priority filter; policy drop;\n"
                             "\t\tiifname \"lo\" accept\n"
                             "\t\tct state established,related accept\n"
                             "\t\tiifname != \"igw0\" ip daddr . meta l4proto . th dport @services accept\n"
                             "\t}\n"
                             "\n"
                             "\tchain fwd_sg_out {\n"
                             "\t\ttype filter hook forward priority filter; policy drop;\n"
                             "\t\tct state established,related accept\n"
                             "\t\tct state invalid counter packets 0 bytes 0 drop\n"
                             "\t\tiifname vmap @sg_out\n"
                             "\t\tiifname \"igw0\" accept\n"
                             "\t}\n"
                             "\n"
                             "\tchain fwd_sg_in {\n"
                             "\t\ttype filter hook forward priority filter + 10; policy drop;\n"
                             "\t\tct state established,related accept\n"
                             "\t\tct state invalid counter packets 0 bytes 0 drop\n"
                             "\t\toifname vmap @sg_in\n"
                             "\t\toifname \"igw0\" accept\n"
                             "\t}\n"
                             "\n"
                             "\tchain post_nat {\n"
                             "\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
                             "\t\toifname \"igw0\" snat ip to ip saddr map @eip_snat\n"
                             "\t}\n"
                             "\n"
                             "\tchain post_last {\n"
                             "\t\ttype filter hook postrouting priority 200; policy accept;\n"
                             "\t\toifname \"igw0\" ip saddr != 198.18.0.0/20 counter packets 0 bytes 0 drop\n"
                             "\t}\n"
                             "\n"
                             "\tchain antispoof {\n"
                             "\t\tiifname . ip saddr @eni_addr return\n"
                             "\t\tcounter packets 0 bytes 0 drop\n"
                             "\t}\n"
                             "\n"
                             "\tchain sg_1_out {\n"
                             "\t\tmeta nfproto ipv4 accept\n"
                             "\t}\n"
                             "\n"
                             "\tchain sg_1_in {\n"
                             "\t\tip saddr 10.0.0.0/8 tcp dport 22 accept\n"
                             "\t}\n"
                             "\n"
                             "\tchain of_887771311d45f013_out {\n"
                             "\t\tjump sg_1_out\n"
                             "\t\tcounter packets 0 bytes 0 drop\n"
                             "\t}\n"
                             "\n"
                             "\tchain of_887771311d45f013_in {\n"
                             "\t\tjump sg_1_in\n"
                             "\t\tcounter packets 0 bytes 0 drop\n"
                             "\t}\n"
                             "}\n"
                             "table arp haar_test {\n"
                             "\tset own {\n"
                             "\t\ttype ifname . ipv4_addr\n"
                             "\t\telements = { \"eeni-1\" . 10.0.0.5 }\n"
                             "\t}\n"
                             "\n"
                             "\tchain arp_in {\n"
                             "\t\ttype filter hook input priority filter; policy drop;\n"
                             "\t\tiifname . arp saddr ip @own accept\n"
                             "\t}\n"
                             "}\n";

static void the_rule_set_of_a_vpc_reads_as_planned(void **state)
{
    static const struct fabric_rule rules[] = {
        {.protocol = 6, .from = 22, .to = 22, .ipv4 = {0x0a000000, 8}},
        {.egress = true, .protocol = FABRIC_ANY},
    };
    struct vpc *vpc = model_vpc_new(S("vpc-1"));
    AUTO_NFT batch = NFT_BATCH_INIT;

    NEEDS_ABLE();
    nft_begin(&batch, NFPROTO_INET, "haar_test");
    set_rules(&batch, vpc, "sg-1", rules, 2);
    rules_add(&batch, make_interface(vpc, "eni-1", 0x0a000005, 0xc6120005, "sg-1"));
    nft_begin(&batch, NFPROTO_INET, "haar_test");
    rules_whole(&batch, vpc, POOL);
    must_send(&batch);
    assert_ruleset(golden);
    model_vpc_free(vpc);
}

/* One rule's text, in its direction's chain. */
static void assert_rule(struct fabric_rule rule, const char *expected)
{
    struct vpc *vpc = model_vpc_new(S("vpc-1"));
    const char *chain = rule.egress ? "chain sg_1_out {\n" : "chain sg_1_in {\n";
    AUTO_NFT batch = NFT_BATCH_INIT;
    AUTO_BUF text = BUF_INIT;
    char *at, *end;

    nft_begin(&batch, NFPROTO_INET, "haar_test");
    set_rules(&batch, vpc, "sg-1", &rule, 1);
    rules_add(&batch, make_interface(vpc, "eni-1", 0x0a000005, 0, "sg-1"));
    nft_begin(&batch, NFPROTO_INET, "haar_test");
    rules_whole(&batch, vpc, POOL);
    must_send(&batch);
    list_ruleset(&text);
    at = strstr(text.p, chain);
    assert_non_null(at);
    at += strlen(chain) + 2;
    end = strchr(at, '\n');
    assert_non_null(end);
    *end = '\0';
    assert_string_equal(at, expected);
    model_vpc_free(vpc);
}

static void every_shape_of_permission_reads_as_meant(void **state)
{
    static const struct {
        struct fabric_rule rule;
        const char *text;
    } cases[] = {
#define ANYWHERE .ipv4 = {0, 0}
        {{.protocol = FABRIC_ANY, ANYWHERE}, "meta nfproto ipv4 accept"},
        {{.protocol = FABRIC_ANY, .egress = true, .ipv4 = {0x0a000000, 8}}, "ip daddr 10.0.0.0/8 accept"},
        {{.protocol = FABRIC_ANY, .ipv4 = {0x0a010203, 32}}, "ip saddr 10.1.2.3 accept"},
        {{.protocol = FABRIC_ANY, .ipv4 = {0x0a010200, 23}}, "ip saddr 10.1.2.0/23 accept"},
        {{.protocol = FABRIC_ANY, .ipv4 = {0x80000000, 1}}, "ip saddr 128.0.0.0/1 accept"},
        {{.protocol = 6, .from = 22, .to = 22, ANYWHERE}, "meta nfproto ipv4 tcp dport 22 accept"},
        {{.protocol = 6, .from = 1000, .to = 2000, .ipv4 = {0xc0a80000, 16}},
         "ip saddr 192.168.0.0/16 tcp dport 1000-2000 accept"},
        {{.protocol = 6, .from = 0, .to = 65535, ANYWHERE}, "meta nfproto ipv4 meta l4proto 6 accept"},
        {{.protocol = 6, .from = FABRIC_ANY, .to = FABRIC_ANY, ANYWHERE}, "meta nfproto ipv4 meta l4proto 6 accept"},
        {{.protocol = 17, .egress = true, .from = 53, .to = 53, .ipv4 = {0x0a000002, 32}},
         "ip daddr 10.0.0.2 udp dport 53 accept"},
        {{.protocol = 1, .from = FABRIC_ANY, .to = FABRIC_ANY, ANYWHERE}, "meta l4proto 1 accept"},
        {{.protocol = 1, .from = 8, .to = FABRIC_ANY, ANYWHERE}, "icmp type echo-request accept"},
        {{.protocol = 1, .from = 3, .to = 4, ANYWHERE},
         "icmp type destination-unreachable icmp code frag-needed accept"},
        {{.protocol = 47, ANYWHERE}, "meta nfproto ipv4 meta l4proto 47 accept"},
        {{.protocol = FABRIC_ANY, .peer = FABRIC_PEER_GROUP, .group = {"sg-2", 4}}, "ip saddr @at_sg_2 accept"},
        {{.protocol = 6, .from = 443, .to = 443, .egress = true, .peer = FABRIC_PEER_GROUP, .group = {"sg-1", 4}},
         "ip daddr @at_sg_1 tcp dport 443 accept"},
        {{.protocol = FABRIC_ANY, .peer = FABRIC_PEER_IPV6}, "meta nfproto ipv6 accept"},
        {{.protocol = 6, .from = 80, .to = 80, .peer = FABRIC_PEER_IPV6, .ipv6 = {{0x20, 1, 0x0d, 0xb8}, 32}},
         "ip6 saddr 2001:db8::/32 tcp dport 80 accept"},
        {{.protocol = 58, .from = FABRIC_ANY, .to = FABRIC_ANY, .peer = FABRIC_PEER_IPV6}, "meta l4proto 58 accept"},
        {{.protocol = 58, .from = 128, .to = FABRIC_ANY, .peer = FABRIC_PEER_IPV6, .egress = true},
         "icmpv6 type echo-request accept"},
    };

    NEEDS_ABLE();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_rule(cases[i].rule, cases[i].text);
}

static void a_refused_batch_changes_nothing_and_names_the_object(void **state)
{
    AUTO_NFT batch = NFT_BATCH_INIT;
    struct err err = ERR_INIT;

    NEEDS_ABLE();
    nft_begin(&batch, NFPROTO_INET, "haar_test");
    nft_table_add(&batch);
    nft_chain_add(&batch, "one");
    nft_rule_begin(&batch, "missing");
    nft_verdict(&batch, NF_DROP, NULL);
    nft_rule_end(&batch);
    assert_int_equal(nft_send(&batch, &err), -ENOENT);
    assert_non_null(strstr(err.text, "add a rule to chain missing in table haar_test"));
    assert_ruleset("");
}

/* ---- random changes ---- */

enum { SOME_GROUPS = 12, SOME_INTERFACES = 40, CHANGES = 1500 };

static uint32_t seed = 1;

static unsigned pick(unsigned below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static struct str group_name(unsigned i, char name[16])
{
    snprintf(name, 16, "sg-%04x", i);
    return str_of(name);
}

static struct fabric_rule random_rule(char names[16])
{
    static const int protocols[] = {FABRIC_ANY, 1, 6, 17, 58, 47, 255};
    struct fabric_rule rule = {.egress = pick(2),
                               .protocol = protocols[pick(ARRAY_LEN(protocols))],
                               .from = (int)pick(65537) - 1,
                               .to = (int)pick(65537) - 1,
                               .peer = (enum fabric_peer)pick(3),
                               .ipv4 = {pick(1 << 24) << 8 | pick(256), pick(33)},
                               .ipv6.prefix = pick(129)};

    for (int i = 0; i < 16; i++)
        rule.ipv6.network[i] = (uint8_t)pick(256);
    rule.group = group_name(pick(SOME_GROUPS), names);
    return rule;
}

static void random_group(struct vpc *vpc, struct nft_batch *batch)
{
    struct fabric_rule rules[20];
    char names[20][16], id[16];
    size_t count = pick(20);

    for (size_t i = 0; i < count; i++)
        rules[i] = random_rule(names[i]);
    group_name(pick(SOME_GROUPS), id);
    set_rules(batch, vpc, id, rules, count);
}

static void random_shape(struct vpc *vpc, struct attached *attached, unsigned number)
{
    struct str groups[5];
    char names[5][16];
    size_t count = pick(5);

    for (size_t i = 0; i < count; i++)
        groups[i] = group_name(pick(SOME_GROUPS), names[i]);
    attached->combination = model_combination(vpc, groups, count);
    attached->mark = pick(4);
    attached->source_dest_check = pick(2);
    attached->address_count = 1 + pick(4);
    for (unsigned i = 0; i < attached->address_count; i++)
        attached->addresses[i] = (struct fabric_address){0x0a000000 + number * 16 + i,
                                                         pick(2) ? 0xc6120000 + number * 16 + i + pick(2) * 8 : 0};
}

static void random_change(struct vpc *vpc, struct attached *all[SOME_INTERFACES], struct nft_batch *grants,
                          struct nft_batch *withdrawals)
{
    unsigned number = pick(SOME_INTERFACES), what = pick(4);
    char id[16];

    if (what == 0) {
        random_group(vpc, grants);
    } else if (!all[number]) {
        snprintf(id, sizeof id, "eni-%04x", number);
        all[number] = make_interface(vpc, id, 0, 0, "sg-0000");
        random_shape(vpc, all[number], number);
        rules_add(grants, all[number]);
    } else if (what == 1) {
        rules_remove(grants, all[number]);
        model_interface_free(all[number]);
        all[number] = NULL;
    } else if (what == 2) {
        struct attached now = *all[number];

        random_shape(vpc, &now, number);
        rules_change(grants, withdrawals, all[number], &now);
        now.next = all[number]->next;
        *all[number] = now;
    } else {
        rules_remark(grants, all[number], pick(4));
    }
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Order in sets and of chains is the kernel's own: every word, sorted. */
static void sort_words(struct buf *text)
{
    AUTO_BUF sorted = BUF_INIT;
    char **words = mem_alloc((text->len + 1) * sizeof *words), *rest = text->p, *word;
    size_t count = 0;

    while ((word = strsep(&rest, " ,\t\n")))
        words[count++] = word;
    qsort(words, count, sizeof *words, compare_lines);
    for (size_t i = 0; i < count; i++)
        buf_printf(&sorted, "%s\n", words[i]);
    free(words);
    buf_free(text);
    *text = sorted;
    sorted = BUF_INIT;
    buf_byte(text, '\0');
}

static void random_changes_are_never_refused_and_end_as_the_whole_plan(void **state)
{
    struct attached *all[SOME_INTERFACES] = {0};
    struct vpc *vpc = model_vpc_new(S("vpc-1"));
    AUTO_NFT batch = NFT_BATCH_INIT, more = NFT_BATCH_INIT;
    AUTO_BUF changed = BUF_INIT, whole = BUF_INIT;

    NEEDS_ABLE();
    nft_begin(&batch, NFPROTO_INET, "haar_test");
    rules_whole(&batch, vpc, POOL);
    must_send(&batch);
    for (int i = 0; i < CHANGES; i++) {
        nft_begin(&batch, NFPROTO_INET, "haar_test");
        nft_begin(&more, NFPROTO_INET, "haar_test");
        random_change(vpc, all, &batch, &more);
        must_send(&batch);
        must_send(&more);
    }
    list_ruleset(&changed);
    nft_begin(&batch, NFPROTO_INET, "haar_test");
    rules_whole(&batch, vpc, POOL);
    must_send(&batch);
    list_ruleset(&whole);
    sort_words(&changed);
    sort_words(&whole);
    assert_string_equal(changed.p, whole.p);
    model_vpc_free(vpc);
}

int main(void)
{
    struct err err = ERR_INIT;
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup(the_rule_set_of_a_vpc_reads_as_planned, fresh_namespace),
        cmocka_unit_test_setup(every_shape_of_permission_reads_as_meant, fresh_namespace),
        cmocka_unit_test_setup(a_refused_batch_changes_nothing_and_names_the_object, fresh_namespace),
        cmocka_unit_test_setup(random_changes_are_never_refused_and_end_as_the_whole_plan, fresh_namespace),
    };

    able = geteuid() == 0 && fabric_probe(&err) == 0;
    if (!able)
        print_message("skipped: rules cannot be set here: %s\n", err.text[0] ? err.text : "needs root");
    return cmocka_run_group_tests(all, NULL, NULL);
}
