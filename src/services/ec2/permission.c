#include "services/ec2/permission.h"

#include "services/ec2/address.h"
#include "services/ec2/quotas.h"
#include "services/ec2/security_group.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

enum { MAX_DESCRIPTION = 255, MAX_PORT = 65535, MAX_ICMP = 255 };

static const struct {
    int number;
    const char *name;
} protocols[] = {{1, "icmp"}, {6, "tcp"}, {17, "udp"}, {58, "icmpv6"}, {-1, "-1"}, {-1, "all"}};

/* The name that AWS gives the protocol, or its number where it gives none; absent when there is no such protocol. */
static struct str protocol_of(struct call *call, struct str text)
{
    int64_t number = 0;
    bool numeric = str_to_int(text, &number);

    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (numeric ? number == protocols[i].number : str_equal_nocase(text, str_of(protocols[i].name)))
            return protocols[i].number < 0 ? S("-1") : str_of(protocols[i].name);
    if (!numeric || number < 0 || number > 255)
        return (struct str){0};
    return call_printf(call, "%d", (int)number);
}

static bool is_transport(struct str protocol)
{
    return str_equal(protocol, S("tcp")) || str_equal(protocol, S("udp"));
}

static bool is_icmp(struct str protocol)
{
    return str_equal(protocol, S("icmp")) || str_equal(protocol, S("icmpv6"));
}

static int check_transport(int64_t from, int64_t to, struct err *err)
{
    if (from == -1 && to == -1)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.");
    if (from < 0 || from > MAX_PORT || to < 0 || to > MAX_PORT)
        return err_aws(err, &EC2_INVALID_PERMISSION_MALFORMED, "TCP/UDP port (%lld) out of range",
                       (long long)(from < 0 || from > MAX_PORT ? from : to));
    if (from > to)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Invalid TCP/UDP port range (%lld:%lld)", (long long)from,
                       (long long)to);
    return 0;
}

static int check_icmp(int64_t type, int64_t code, struct err *err)
{
    if (type < -1 || type > MAX_ICMP)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "ICMP type (%lld) out of range", (long long)type);
    if (code < -1 || code > MAX_ICMP)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "ICMP code (%lld) out of range", (long long)code);
    if (type == -1 && code != -1)
        return err_aws(err, &EC2_INVALID_PERMISSION_MALFORMED,
                       "ICMP code (%lld) cannot be specified when all ICMP types are.", (long long)code);
    return 0;
}

int permission_ports(struct call *call, const struct permission_ports *in, struct ec2_security_group_rule *rule,
                     struct err *err)
{
    int64_t from = in->from.set ? in->from.value : -1, to = in->to.set ? in->to.value : -1;
    int r = 0;

    if (!in->protocol.len)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter ipProtocol");
    rule->ip_protocol = protocol_of(call, in->protocol);
    if (!rule->ip_protocol.p)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Invalid value '" STR_FMT "' for IP protocol. Unknown protocol.",
                       STR_ARG(str_first(in->protocol, 64)));
    if (str_equal(rule->ip_protocol, S("icmp")) && (!in->from.set || !in->to.set))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Invalid value 'Must specify both from and to ports with ICMP.' for portRange.");
    if (is_transport(rule->ip_protocol))
        r = check_transport(from, to, err);
    else if (is_icmp(rule->ip_protocol))
        r = check_icmp(from, to, err);
    else
        from = to = -1; /* all ports, whatever the request says */
    rule->from_port = INT(from);
    rule->to_port = INT(to);
    return r;
}

static int malformed_cidr(struct str text, struct err *err)
{
    return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "CIDR block " STR_FMT " is malformed",
                   STR_ARG(str_first(text, 64)));
}

/* "…/N", N of at most `max`: what stands before the slash, and N. */
static bool split_cidr(struct str text, unsigned max, struct str *ret_address, unsigned *ret_prefix)
{
    int64_t prefix;

    *ret_address = str_cut(&text, '/');
    if (!text.p || text.len > 3 || !str_to_int(text, &prefix) || prefix < 0 || prefix > max)
        return false;
    *ret_prefix = (unsigned)prefix;
    return true;
}

int permission_cidr(struct call *call, struct str text, struct str *ret, struct err *err)
{
    struct str part;
    uint32_t address;
    unsigned prefix;

    if (!split_cidr(text, 32, &part, &prefix) || !address_parse(part, &address))
        return malformed_cidr(text, err);
    *ret = call_printf(call, STR_FMT "/%u", STR_ARG(address_text(call->arena, address & prefix_mask(prefix))), prefix);
    return 0;
}

int permission_cidr6(struct call *call, struct str text, struct str *ret, struct err *err)
{
    char z[INET6_ADDRSTRLEN];
    struct in6_addr address;
    struct str part;
    unsigned prefix;

    if (!split_cidr(text, 128, &part, &prefix) || !str_to_z(part, z, sizeof z) || inet_pton(AF_INET6, z, &address) != 1)
        return malformed_cidr(text, err);
    for (unsigned bit = prefix; bit < 128; bit++)
        address.s6_addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    inet_ntop(AF_INET6, &address, z, sizeof z);
    *ret = call_printf(call, "%s/%u", z, prefix);
    return 0;
}

int permission_prefix_list(struct str id, struct err *err)
{
    return err_aws(err, &EC2_INVALID_PREFIX_LIST_ID_NOT_FOUND, "The prefix list ID '" STR_FMT "' does not exist",
                   STR_ARG(str_first(id, 64)));
}

int permission_description(struct str text, struct err *err)
{
    if (security_group_text_ok(text, MAX_DESCRIPTION))
        return 0;
    return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                   "Invalid rule description. Valid descriptions are strings less than 256 characters from the "
                   "following set:  " SECURITY_GROUP_CHARACTERS);
}

int permission_peer(struct call *call, const struct ec2_security_group *group,
                    const struct ec2_user_id_group_pair *pair, struct ec2_referenced_security_group **ret,
                    struct err *err)
{
    const struct ec2_security_group *peer;
    int r;

    if (pair->user_id.len &&
        !str_equal(pair->user_id, call->account)) /* peering is not built: nobody else's is in reach */
        return err_aws(err, &EC2_INVALID_GROUP_NOT_FOUND, "The security group '" STR_FMT "' does not exist",
                       STR_ARG(str_first(pair->group_id.len ? pair->group_id : pair->group_name, 255)));
    r = security_group_chosen(call, pair->group_id, pair->group_name, &peer, err);
    if (r < 0)
        return r;
    if (!str_equal(peer->vpc_id, group->vpc_id))
        return err_aws(err, &EC2_INVALID_GROUP_NOT_FOUND,
                       "You have specified two resources that belong to different networks.");
    *ret = arena_new(call->arena, struct ec2_referenced_security_group);
    (*ret)->group_id = peer->group_id;
    (*ret)->user_id = peer->owner_id;
    return 0;
}

/* The rules of one permission, behind those that are in *ret (which has the room). `base` is protocol and ports. */
static int add_peers(struct call *call, const struct ec2_security_group *group, const struct ec2_ip_permission *in,
                     struct ec2_security_group_rule base, struct ec2_security_group_rule_list *ret, struct err *err)
{
    size_t before = ret->count;
    struct ec2_security_group_rule *rule;
    int r = 0;

    for (size_t i = 0; i < in->ip_ranges.count && r == 0; i++) {
        rule = &ret->items[ret->count++];
        *rule = base;
        rule->description = in->ip_ranges.items[i].description;
        r = permission_cidr(call, in->ip_ranges.items[i].cidr_ip, &rule->cidr_ipv4, err);
    }
    for (size_t i = 0; i < in->ipv6_ranges.count && r == 0; i++) {
        rule = &ret->items[ret->count++];
        *rule = base;
        rule->description = in->ipv6_ranges.items[i].description;
        r = permission_cidr6(call, in->ipv6_ranges.items[i].cidr_ipv6, &rule->cidr_ipv6, err);
    }
    for (size_t i = 0; i < in->user_id_group_pairs.count && r == 0; i++) {
        rule = &ret->items[ret->count++];
        *rule = base;
        rule->description = in->user_id_group_pairs.items[i].description;
        r = permission_peer(call, group, &in->user_id_group_pairs.items[i], &rule->referenced_group_info, err);
    }
    if (r == 0 && in->prefix_list_ids.count)
        return permission_prefix_list(in->prefix_list_ids.items[0].prefix_list_id, err);
    for (size_t i = before; i < ret->count && r == 0; i++)
        r = permission_description(ret->items[i].description, err);
    if (r == 0 && ret->count == before)
        return err_aws(err, &EC2_INVALID_PERMISSION_MALFORMED,
                       "The permission must name an IP range, a security group or a prefix list.");
    return r;
}

int permission_rules(struct call *call, const struct ec2_security_group *group, bool egress,
                     const struct ec2_ip_permission_list *in, struct ec2_security_group_rule_list *ret, struct err *err)
{
    size_t room = 1;
    int r = 0;

    for (size_t i = 0; i < in->count; i++)
        room += in->items[i].ip_ranges.count + in->items[i].ipv6_ranges.count + in->items[i].user_id_group_pairs.count;
    *ret = (struct ec2_security_group_rule_list){arena_array(call->arena, struct ec2_security_group_rule, room), 0};
    for (size_t i = 0; i < in->count && r == 0; i++) {
        struct permission_ports ports = {in->items[i].ip_protocol, in->items[i].from_port, in->items[i].to_port};
        struct ec2_security_group_rule base = {
            .group_id = group->group_id, .group_owner_id = group->owner_id, .is_egress = BOOL(egress)};
        r = permission_ports(call, &ports, &base, err);
        if (r == 0)
            r = add_peers(call, group, &in->items[i], base, ret, err);
    }
    return r;
}

static struct str peer_id(const struct ec2_security_group_rule *rule)
{
    return rule->referenced_group_info ? rule->referenced_group_info->group_id : (struct str){0};
}

static bool same_ports(const struct ec2_security_group_rule *a, struct str protocol, int64_t from, int64_t to)
{
    return str_equal(a->ip_protocol, protocol) && a->from_port.value == from && a->to_port.value == to;
}

bool rule_same(const struct ec2_security_group_rule *a, const struct ec2_security_group_rule *b)
{
    return a->is_egress.value == b->is_egress.value &&
           same_ports(a, b->ip_protocol, b->from_port.value, b->to_port.value) &&
           str_equal(a->cidr_ipv4, b->cidr_ipv4) && str_equal(a->cidr_ipv6, b->cidr_ipv6) &&
           str_equal(a->prefix_list_id, b->prefix_list_id) && str_equal(peer_id(a), peer_id(b));
}

bool rule_of_family(const struct ec2_security_group_rule *rule, bool egress, bool ipv6)
{
    return rule->is_egress.value == egress && !(ipv6 ? rule->cidr_ipv4.p : rule->cidr_ipv6.p);
}

int rules_check_count(size_t count, struct err *err)
{
    if ((int64_t)count > quota_value(QUOTA_RULES_PER_GROUP))
        return err_aws(err, &EC2_RULES_PER_SECURITY_GROUP_LIMIT_EXCEEDED,
                       "The maximum number of rules per security group has been reached.");
    return 0;
}

/* Room for one more item at a list's end; the list doubles, and begins empty. */
static void *grown(struct call *call, struct any_list *list, size_t size)
{
    if ((list->count & (list->count - 1)) == 0) { /* full, or empty */
        void *items = arena_alloc_array(call->arena, size, list->count ? 2 * list->count : 1);
        if (list->count)
            memcpy(items, list->items, list->count * size);
        list->items = items;
    }
    return (char *)list->items + size * list->count++;
}

#define NEXT(call, list) ((typeof((list)->items))grown(call, (struct any_list *)(list), sizeof *(list)->items))

/* The permission of the rule's protocol and ports. Ports are shown for the protocols that have them. */
static struct ec2_ip_permission *permission_for(struct call *call, struct ec2_ip_permission_list *list,
                                                const struct ec2_security_group_rule *rule)
{
    struct ec2_ip_permission *permission;

    for (size_t i = 0; i < list->count; i++) {
        permission = &list->items[i];
        if (same_ports(rule, permission->ip_protocol, permission->from_port.set ? permission->from_port.value : -1,
                       permission->to_port.set ? permission->to_port.value : -1))
            return permission;
    }
    permission = NEXT(call, list);
    permission->ip_protocol = rule->ip_protocol;
    if (is_transport(rule->ip_protocol) || is_icmp(rule->ip_protocol)) {
        permission->from_port = rule->from_port;
        permission->to_port = rule->to_port;
    }
    return permission;
}

/* The group of a rule's other end, by its name too. */
static struct ec2_user_id_group_pair group_pair(struct call *call, const struct ec2_security_group_rule *rule)
{
    const struct ec2_referenced_security_group *info = rule->referenced_group_info;
    const struct ec2_security_group *peer = security_group_peek(call->tx, info->group_id);

    return (struct ec2_user_id_group_pair){.group_id = info->group_id,
                                           .user_id = info->user_id,
                                           .description = rule->description,
                                           .referenced_name = peer ? peer->group_name : (struct str){0}};
}

void permission_add(struct call *call, struct ec2_ip_permission_list *list, const struct ec2_security_group_rule *rule)
{
    struct ec2_ip_permission *permission = permission_for(call, list, rule);

    if (rule->cidr_ipv4.p)
        *NEXT(call, &permission->ip_ranges) = (struct ec2_ip_range){.cidr_ip = rule->cidr_ipv4,
                                                                    .description = rule->description};
    else if (rule->cidr_ipv6.p)
        *NEXT(call, &permission->ipv6_ranges) = (struct ec2_ipv6_range){.cidr_ipv6 = rule->cidr_ipv6,
                                                                        .description = rule->description};
    else if (rule->prefix_list_id.p)
        *NEXT(call, &permission->prefix_list_ids) = (struct ec2_prefix_list_id){.prefix_list_id = rule->prefix_list_id,
                                                                                .description = rule->description};
    else
        *NEXT(call, &permission->user_id_group_pairs) = group_pair(call, rule);
}

static struct str peer_text(const struct ec2_security_group_rule *rule)
{
    return rule->cidr_ipv4.p        ? rule->cidr_ipv4
           : rule->cidr_ipv6.p      ? rule->cidr_ipv6
           : rule->prefix_list_id.p ? rule->prefix_list_id
                                    : peer_id(rule);
}

static struct str port_text(struct call *call, int64_t port)
{
    return port < 0 ? S("ALL") : call_printf(call, "%lld", (long long)port);
}

struct str rule_text(struct call *call, const struct ec2_security_group_rule *rule)
{
    struct str peer = peer_text(rule), from = port_text(call, rule->from_port.value),
               to = port_text(call, rule->to_port.value), name = rule->ip_protocol;
    char upper[8] = "";

    for (size_t i = 0; i < name.len && i < sizeof upper - 1; i++)
        upper[i] = (char)toupper((unsigned char)name.p[i]);
    if (is_transport(name))
        return call_printf(call, "peer: " STR_FMT ", %s, from port: " STR_FMT ", to port: " STR_FMT ", ALLOW",
                           STR_ARG(peer), upper, STR_ARG(from), STR_ARG(to));
    if (is_icmp(name))
        return call_printf(call, "peer: " STR_FMT ", %s, type: " STR_FMT ", code: " STR_FMT ", ALLOW", STR_ARG(peer),
                           upper, STR_ARG(from), STR_ARG(to));
    return call_printf(call, "peer: " STR_FMT ", %s, ALLOW", STR_ARG(peer), str_equal(name, S("-1")) ? "ALL" : upper);
}
