/* Which machines there are, what each boots, and how it is connected: over all accounts and regions. */
#include "introspection/answer.h"

#include "base/time.h"
#include "services/ec2/instance.h"

struct listing {
    struct introspection *own;
    struct http_request *request;
    struct json_writer json;
    struct str id; /* only this one; absent: all */
    void (*put)(struct listing *listing, struct tx *tx, const struct ec2_instance *instance);
};

static struct str name_tag(const struct ec2_instance *instance)
{
    for (size_t i = 0; i < instance->tags.count; i++)
        if (str_equal(instance->tags.items[i].key, S("Name")))
            return instance->tags.items[i].value;
    return (struct str){0};
}

static void put_time(struct json_writer *json, const char *name, struct opt_time time)
{
    char text[TIME_ISO_SIZE];

    json_put_str(json, name, time.set ? time_iso(time.ms, text) : (struct str){0});
}

static const struct ec2_network_interface *primary_interface(struct listing *listing, struct tx *tx,
                                                             const struct ec2_instance *instance)
{
    const struct ec2_network_interface *const *found;

    return instance_interfaces(tx, listing->request->arena, instance->instance_id, &found) ? found[0] : NULL;
}

/* No AMI has an image of its own yet: each boots what the server was told. */
static void put_image(struct listing *listing, const struct ec2_instance *instance)
{
    bool boots = listing->own->backend.driver != NULL;

    json_put_str(&listing->json, "imageId", instance->image_id);
    json_put_str(&listing->json, "rootImage", boots ? listing->own->image : (struct str){0});
    json_put_bool(&listing->json, "imageFallback", boots);
}

static void put_instance(struct listing *listing, struct tx *tx, const struct ec2_instance *instance)
{
    const struct ec2_network_interface *eni = primary_interface(listing, tx, instance);
    struct json_writer *json = &listing->json;

    json_put_str(json, "instanceId", instance->instance_id);
    json_put_str(json, "accountId", world_account(tx_world(tx)));
    json_put_str(json, "region", world_region(tx_world(tx)));
    json_put_str(json, "name", name_tag(instance));
    json_put_str(json, "state", instance->state->name);
    json_put_str(json, "stateReason", instance->state_reason ? instance->state_reason->message : (struct str){0});
    json_put_bool(json, "booted", instance->booted.set && instance->booted.value);
    json_put_str(json, "instanceType", instance->instance_type);
    put_image(listing, instance);
    json_put_str(json, "backend", listing->own->engine->backend);
    json_put_str(json, "privateIp", eni ? eni->private_ip_address : (struct str){0});
    json_put_str(json, "publicIp", eni && eni->association ? eni->association->public_ip : (struct str){0});
    put_time(json, "launchTime", instance->launch_time);
}

/* Why, or of what, filtering is not whole. Network ACLs are records yet. */
static struct str degraded_reason(struct listing *listing, const struct fabric_status *status)
{
    if (status->enforced)
        return S("network ACLs are not enforced yet");
    if (listing->own->backend.driver)
        return str_of(status->reason);
    return arena_printf(listing->request->arena, "there are no machines: " STR_FMT,
                        STR_ARG(listing->own->engine->backend_reason));
}

/* A backend that has no machines has no networks either; of the native one, a VPC's is a network namespace. */
static void put_network(struct listing *listing, struct tx *tx, const struct ec2_instance *instance)
{
    const struct ec2_network_interface *eni = primary_interface(listing, tx, instance);
    struct introspection *own = listing->own;
    struct json_writer *json = &listing->json;
    struct str none = {0}, network = none;
    struct fabric_status *status = arena_new(listing->request->arena, struct fabric_status);
    bool real = own->backend.driver && own->backend.driver->capabilities & WORKLOAD_OWN_ADDRESS;

    if (eni && real)
        network = arena_printf(listing->request->arena, "haar-" STR_FMT "-" STR_FMT, STR_ARG(own->owner),
                               STR_ARG(eni->vpc_id));
    json_put_str(json, "instanceId", instance->instance_id);
    json_put_str(json, "vpcId", eni ? eni->vpc_id : none);
    json_put_str(json, "subnetId", eni ? eni->subnet_id : none);
    json_put_str(json, "privateIp", eni ? eni->private_ip_address : none);
    json_put_str(json, "backingNetwork", network);
    json_put_str(json, "isolationBackend", real ? S("network-namespace") : S("none"));
    if (own->backend.driver && own->backend.driver->network_status)
        own->backend.driver->network_status(own->backend.cookie, status);
    json_put_str(json, "securityGroupEnforcement", status->enforced ? S("nftables") : S("none"));
    json_put_bool(json, "enforcementActive", status->enforced);
    json_put_str(json, "degradedReason", degraded_reason(listing, status));
}

static void list_world(void *cookie, struct tx *tx)
{
    struct listing *listing = cookie;
    const struct ec2_instance *instance;
    uint64_t position = 0;

    while ((instance = tx_next(tx, EC2_INSTANCE, &position))) {
        if (listing->id.p && !str_equal(listing->id, instance->instance_id))
            continue;
        json_open_object(&listing->json, NULL);
        listing->put(listing, tx, instance);
        json_close_object(&listing->json);
    }
}

static void list(struct introspection *own, struct http_request *request, const char *name,
                 void (*put)(struct listing *listing, struct tx *tx, const struct ec2_instance *instance))
{
    struct buf body = BUF_INIT;
    struct listing listing = {own, request, {&body}, query_value(request, S("id")), put};

    json_open_object(&listing.json, NULL);
    json_open_list(&listing.json, name);
    each_world(own, request->arena, list_world, &listing);
    json_close_list(&listing.json);
    json_close_object(&listing.json);
    answer_when_durable(own, request, JSON_TYPE, &body);
}

void on_instances(void *cookie, struct http_request *request)
{
    list(cookie, request, "instances", put_instance);
}

void on_instance_networks(void *cookie, struct http_request *request)
{
    list(cookie, request, "instances", put_network);
}

struct search {
    struct str id;
    int state; /* -1: not found */
};

static void look_in_world(void *cookie, struct tx *tx)
{
    struct search *search = cookie;
    const struct ec2_instance *instance = tx_get(tx, EC2_INSTANCE, search->id);

    if (instance)
        search->state = instance_state_of(instance);
}

int machine_state(struct introspection *own, struct arena *arena, struct str id)
{
    struct search search = {id, -1};

    each_world(own, arena, look_in_world, &search);
    return search.state;
}

bool find_machine(struct introspection *own, struct http_request *request, struct str *ret_id, int *ret_state)
{
    struct str path = str_skip(request->path, 1);

    for (int i = 0; i < 3; i++) /* _haar, ec2, instances */
        str_cut(&path, '/');
    *ret_id = str_cut(&path, '/');
    *ret_state = machine_state(own, request->arena, *ret_id);
    if (*ret_state < 0)
        answer_failure(request, 404, S("InvalidInstanceID.NotFound"), "there is no instance '" STR_FMT "'",
                       STR_ARG(str_first(*ret_id, 64)));
    else if (!own->backend.driver && !own->engine->backend_reason.p)
        answer_failure(request, 503, S("BackendStarting"), "the server is still looking for its machines; try again");
    else if (!own->backend.driver)
        answer_failure(request, 501, S("NoBackend"), "backend none runs no machines: " STR_FMT,
                       STR_ARG(own->engine->backend_reason));
    else
        return true;
    return false;
}
