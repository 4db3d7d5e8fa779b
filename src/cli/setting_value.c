#include "cli/setting_value.h"

#include "base/mem.h"
#include "services/services.h"
#include "workload/host.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdlib.h>

static bool all_in(struct str s, const char *set)
{
    for (size_t i = 0; i < s.len; i++)
        if (!s.p[i] || !strchr(set, s.p[i]))
            return false;
    return true;
}

static bool is_plain(struct str s) /* printable ASCII without blanks */
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return s.len > 0;
}

static bool choose(struct str text, const char *const *words, size_t count, size_t *ret)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal_nocase(text, str_of(words[i]))) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static bool is_port(struct str s)
{
    int64_t port;

    return all_in(s, "0123456789") && str_to_int(s, &port) && port <= 65535;
}

static bool is_address(int family, struct str s)
{
    unsigned char bytes[16];
    char z[64];

    return str_to_z(s, z, sizeof z) && inet_pton(family, z, bytes) == 1;
}

bool value_listen(struct str text, void *at)
{
    struct str host, rest = text;

    if (str_starts(text, S("["))) {
        rest = str_skip(text, 1);
        host = str_cut(&rest, ']');
        if (!rest.p || !str_starts(rest, S(":")) || !is_address(AF_INET6, host))
            return false;
        rest = str_skip(rest, 1);
    } else {
        host = str_cut(&rest, ':');
        if (!rest.p || !is_address(AF_INET, host))
            return false;
    }
    *(struct str *)at = text;
    return rest.len > 0 && is_port(rest);
}

bool value_text(struct str text, void *at)
{
    *(struct str *)at = text;
    return is_plain(text);
}

bool value_path(struct str text, void *at)
{
    *(struct str *)at = text;
    return text.len > 0 && text.len < 4096;
}

static const char *const backend_words[] = {"auto", "native", "docker", "podman", "kubernetes", "none"};

const char *backend_word(enum backend_name name)
{
    return backend_words[name];
}

bool value_backend(struct str text, void *at)
{
    size_t i;

    if (str_equal_nocase(text, S("k8s")))
        i = BACKEND_KUBERNETES;
    else if (!choose(text, backend_words, ARRAY_LEN(backend_words), &i))
        return false;
    *(enum backend_name *)at = (enum backend_name)i;
    return true;
}

bool value_opt_backend(struct str text, void *at)
{
    struct opt_backend *out = at;

    out->set = value_backend(text, &out->value);
    return out->set;
}

bool value_account(struct str text, void *at)
{
    *(struct str *)at = text;
    return text.len == 12 && all_in(text, "0123456789");
}

bool value_region(struct str text, void *at)
{
    *(struct str *)at = text;
    return service_region_exists(text);
}

bool value_internet(struct str text, void *at)
{
    static const char *const words[] = {"auto", "on", "off"};
    size_t i;

    if (!choose(text, words, ARRAY_LEN(words), &i))
        return false;
    *(enum internet *)at = (enum internet)i;
    return true;
}

/* Bits beyond the prefix are a slip of the pen: refused. */
static bool parse_cidr(struct str text, struct cidr *ret)
{
    struct str rest = text, address = str_cut(&rest, '/');
    struct in_addr in;
    int64_t prefix;
    char z[32];

    if (!rest.len || !all_in(rest, "0123456789") || !str_to_int(rest, &prefix) || prefix > 32 ||
        !str_to_z(address, z, sizeof z) || inet_pton(AF_INET, z, &in) != 1)
        return false;
    ret->network = ntohl(in.s_addr);
    ret->prefix = (unsigned)prefix;
    return prefix == 32 || (ret->network << prefix) == 0;
}

/* Calls one(item, at) for each part between commas; blanks around parts are skipped, empty parts refused. */
static bool each_part(struct str text, bool (*one)(struct str part, void *at), void *at)
{
    while (text.p) {
        struct str part = str_trim(str_cut(&text, ','));

        if (!part.len || !one(part, at))
            return false;
    }
    return true;
}

static bool add_cidr(struct str part, void *at)
{
    struct cidr_list *list = at;

    list->items = mem_resize(list->items, (list->count + 1) * sizeof *list->items);
    return parse_cidr(part, &list->items[list->count++]);
}

bool value_cidr_list(struct str text, void *at)
{
    return each_part(text, add_cidr, at);
}

bool value_opt_cidr(struct str text, void *at)
{
    struct opt_cidr *out = at;

    out->set = parse_cidr(text, &out->value);
    return out->set;
}

bool value_log_level(struct str text, void *at)
{
    return log_level_parse(text, at);
}

bool value_switch(struct str text, void *at)
{
    static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
    size_t i;

    if (!choose(text, words, ARRAY_LEN(words), &i))
        return false;
    *(bool *)at = i % 2;
    return true;
}

static void append(struct str_list *list, struct str item)
{
    list->items = mem_resize(list->items, (list->count + 1) * sizeof *list->items);
    list->items[list->count++] = item;
}

static bool is_name(struct str s)
{
    static const char set[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    return s.len > 0 && s.len <= 253 && all_in(s, set);
}

static bool add_host(struct str part, void *at)
{
    struct str name = str_starts(part, S("*.")) ? str_skip(part, 2) : part;

    append(at, part);
    return str_equal(part, S("*")) || is_name(name);
}

bool value_host_list(struct str text, void *at)
{
    return each_part(text, add_host, at);
}

/* http://HOST[:PORT], https likewise; *ret_path: what follows. */
static bool is_url(struct str text, struct str *ret_path)
{
    struct str rest = str_starts(text, S("http://"))    ? str_skip(text, 7)
                      : str_starts(text, S("https://")) ? str_skip(text, 8)
                                                        : (struct str){0};
    struct str host, port;
    size_t end = 0;

    while (end < rest.len && rest.p[end] != '/')
        end++;
    *ret_path = str_skip(rest, end);
    port = str_first(rest, end);
    if (str_starts(port, S("["))) {
        port = str_skip(port, 1);
        host = str_cut(&port, ']');
        return port.p && is_address(AF_INET6, host) &&
               (!port.len || (port.p[0] == ':' && port.len > 1 && is_port(str_skip(port, 1))));
    }
    host = str_cut(&port, ':');
    return is_plain(text) && is_name(host) && (!port.p || (port.len && is_port(port)));
}

/* As a browser sends it: no path. Or what some schemes of applications send ("app://x", "null"): words without blanks.
 */
static bool add_origin(struct str part, void *at)
{
    struct str path;

    append(at, part);
    if (str_starts(part, S("http")))
        return is_url(part, &path) && !path.len;
    return str_equal(part, S("*")) || str_equal(part, S("null")) || (is_plain(part) && str_contains(part, S("://")));
}

bool value_origin_list(struct str text, void *at)
{
    return each_part(text, add_origin, at);
}

bool value_token(struct str text, void *at)
{
    *(struct str *)at = text;
    return is_plain(text) && text.len >= 8 && text.len <= 256;
}

bool value_host_features(struct str text, void *at)
{
    return host_parse(text, at);
}

bool value_url(struct str text, void *at)
{
    struct str path;

    *(struct str *)at = text;
    return is_url(text, &path);
}

static bool is_label(struct str s)
{
    return s.len > 0 && s.len <= 63 && all_in(s, "abcdefghijklmnopqrstuvwxyz0123456789-") && s.p[0] != '-' &&
           s.p[s.len - 1] != '-';
}

bool value_dns_label(struct str text, void *at)
{
    *(struct str *)at = text;
    return is_label(text);
}

bool value_dns_name(struct str text, void *at)
{
    *(struct str *)at = text;
    for (struct str rest = text; rest.p;)
        if (!is_label(str_cut(&rest, '.')))
            return false;
    return text.len <= 253;
}

/* A registry as images name it (HOST[:PORT][/PATH]), with or without a scheme. */
bool value_registry(struct str text, void *at)
{
    struct str rest = text, host, path;

    *(struct str *)at = text;
    if (str_contains(text, S("://")))
        return is_url(text, &path);
    host = str_cut(&rest, '/');
    rest = host;
    host = str_cut(&rest, ':');
    return is_plain(text) && is_name(host) && (!rest.p || (rest.len && is_port(rest)));
}

static bool add_pair(struct str part, void *at)
{
    struct str value = part, key = str_cut(&value, '=');

    return key.len > 0 && is_plain(key) && value.p;
}

static bool is_string_map(const json_t *json)
{
    const char *key;
    json_t *value;

    if (!json_is_object(json))
        return false;
    json_object_foreach((json_t *)json, key, value) if (!*key || !json_is_string(value)) return false;
    return true;
}

/* {"key":"value", …} or key=value,key=value */
bool value_string_map(struct str text, void *at)
{
    *(struct str *)at = text;
    if (str_starts(str_trim(text), S("{"))) {
        json_t *json = json_loadb(text.p, text.len, JSON_REJECT_DUPLICATES, NULL);
        bool good = is_string_map(json);

        json_decref(json);
        return good;
    }
    return each_part(text, add_pair, NULL);
}

/* As a Pod's: [{"key":…,"operator":…,"value":…,"effect":…}, …] */
bool value_tolerations(struct str text, void *at)
{
    json_t *json = json_loadb(text.p, text.len, JSON_REJECT_DUPLICATES, NULL), *item;
    bool good = json_is_array(json);
    size_t i;

    *(struct str *)at = text;
    json_array_foreach(json, i, item) good &= json_is_object(item);
    json_decref(json);
    return good;
}
