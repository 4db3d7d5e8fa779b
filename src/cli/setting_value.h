/*
 * How a setting's value parses. Each function takes the text, puts the value `at` its member, and returns false when
 * it does not parse; what would have been right stands in the table. A list's function appends.
 */
#pragma once

#include "cli/settings.h"

typedef bool setting_parser(struct str text, void *at);

setting_parser value_listen, value_text, value_path, value_backend, value_opt_backend, value_account, value_region,
    value_internet, value_cidr_list, value_opt_cidr, value_log_level, value_switch, value_host_list, value_origin_list,
    value_token, value_host_features, value_url, value_dns_label, value_dns_name, value_registry, value_string_map,
    value_tolerations;
