/*
 * RunInstances in its parts: what the request asks for, checked and with AWS's defaults filled in (launch_plan), is a
 * struct launch; from it come the records of each instance (launch_instance). Nothing is written before all is checked.
 */
#pragma once

#include "services/ec2/catalogue/images.h"
#include "services/ec2/catalogue/types.h"
#include "services/ec2/local.h"

/* One volume that every instance of the launch gets. */
struct launch_volume {
    struct str device, snapshot_id, type, kms_key_id;
    int64_t size_gib, iops, throughput; /* iops, throughput 0: none to show */
    bool encrypted, delete_on_termination;
};

/* One interface that every instance gets. */
struct launch_interface {
    const struct ec2_subnet *subnet;
    struct ec2_group_identifier_list groups;
    struct str description, private_ip, interface_type; /* private_ip absent: any */
    const struct str *secondary_ips;
    size_t secondary_count; /* how many more addresses; secondary_ips NULL: any */
    int64_t device_index, card_index;
    bool delete_on_termination, public_wanted;
};

struct launch {
    const struct ec2_run_instances_request *in;
    int64_t count;
    const struct image *image; /* NULL: an unknown id that boots HAAR_EC2_IMAGE */
    struct str image_id, architecture, root_device;
    const struct instance_type *type;
    struct str type_name;
    struct launch_interface *interfaces;
    size_t interface_count;
    struct launch_volume *volumes;
    size_t volume_count;
    struct str user_data; /* as sent: base64; absent if none */
    struct str reservation_id;
    int64_t now;
    struct ec2_tag_list instance_tags, volume_tags, interface_tags;
};

/* Each part checks its members of the request, in the order in which launch_plan calls them, and fills its part of the
 * launch. */
int launch_plan(struct call *call, const struct ec2_run_instances_request *in, struct launch *launch, struct err *err);
int launch_check_options(struct call *call, struct launch *launch,
                         struct err *err); /* launch_options.c: what the type and kinds not built refuse */
int launch_plan_volumes(struct call *call, struct launch *launch, struct err *err);    /* launch_volumes.c */
int launch_plan_interfaces(struct call *call, struct launch *launch, struct err *err); /* launch_network.c */

/* Makes the records of the n-th instance: its volumes, interfaces and itself. */
int launch_instance(struct call *call, const struct launch *launch, int64_t n, struct ec2_instance **ret,
                    struct err *err);
void launch_fill_options(struct call *call, const struct launch *launch,
                         struct ec2_instance *instance); /* launch_options.c: defaults as AWS fills them */
