/*
 * Route tables, their routes and associations. Targets that are built: the internet gateway; a route to any other kind
 * answers that kind's NotFound. Source: "Configure route tables", VPC user guide.
 */
#include "services/ec2/address.h"

static struct ec2_route_table_association_state *associated(struct call *call)
{
    struct ec2_route_table_association_state *state = arena_new(call->arena, struct ec2_route_table_association_state);

    state->state = S("associated");
    return state;
}

int ec2_create_route_table(struct call *call, const struct ec2_create_route_table_request *in,
                           struct ec2_create_route_table_result *out, struct err *err)
{
    struct ec2_route_table *table;
    const struct ec2_vpc *vpc;
    struct ec2_tag_list tags;
    int r = vpc_get(call->tx, in->vpc_id, &vpc, err);

    if (r == 0)
        r = tags_specified(call, &in->tag_specifications, "route-table", NULL, &tags, err);
    if (r < 0)
        return r;
    table = route_table_create(call->tx, id_new(call->arena, S("rtb-")));
    table->owner_id = call->account;
    table->vpc_id = vpc->vpc_id;
    table->tags = tags;
    table->routes.items = arena_array(call->arena, struct ec2_route, vpc->cidr_block_association_set.count);
    for (size_t i = 0; i < vpc->cidr_block_association_set.count; i++)
        table->routes.items[table->routes.count++] = (struct ec2_route){
            .destination_cidr_block = vpc->cidr_block_association_set.items[i].cidr_block,
            .gateway_id = S("local"),
            .origin = S("CreateRouteTable"),
            .state = S("active")};
    out->route_table = table;
    out->client_token = in->client_token;
    return 0;
}

int ec2_delete_route_table(struct call *call, const struct ec2_delete_route_table_request *in, void *out,
                           struct err *err)
{
    const struct ec2_route_table *table;
    int r = route_table_get(call->tx, in->route_table_id, &table, err);

    if (r < 0)
        return r;
    if (table->associations.count)
        return err_aws(err, &EC2_DEPENDENCY_VIOLATION,
                       "The routeTable '" STR_FMT "' has dependencies and cannot be deleted.",
                       STR_ARG(table->route_table_id));
    route_table_remove(call->tx, table->route_table_id);
    return 0;
}

/* A route's destination, canonical. */
static int destination(struct call *call, struct str cidr, struct str ipv6, struct str prefix_list, struct str *ret,
                       struct err *err)
{
    uint32_t network;
    unsigned prefix;

    if (ipv6.p || prefix_list.p)
        return err_aws(err, &AWS_NOT_IMPLEMENTED, "Routes to IPv6 CIDR blocks and prefix lists are not built yet.");
    if (!cidr.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter destinationCidrBlock");
    if (!cidr_parse_any(cidr, &network, &prefix))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT
                       ") for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.",
                       STR_ARG(str_first(cidr, 64)));
    *ret = call_printf(call, STR_FMT "/%u", STR_ARG(address_text(call->arena, network & prefix_mask(prefix))), prefix);
    return 0;
}

static int target_gateway(struct call *call, const struct ec2_route_table *table, struct str id,
                          struct ec2_route *route, struct err *err)
{
    const struct ec2_internet_gateway *gateway;
    int r = internet_gateway_get(call->tx, id, &gateway, err);

    if (r < 0)
        return r;
    if (!gateway->attachments.count || !str_equal(gateway->attachments.items[0].vpc_id, table->vpc_id))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "route table " STR_FMT " and network gateway " STR_FMT " belong to different networks",
                       STR_ARG(table->route_table_id), STR_ARG(id));
    route->gateway_id = gateway->internet_gateway_id;
    return 0;
}

/* Kinds of target that are not built: an id of one cannot exist. */
static int target_not_built(const struct ec2_create_route_request *in, struct err *err)
{
    const struct {
        struct str id;
        const struct aws_error *code;
        const char *noun;
    } targets[] = {
        {in->nat_gateway_id, &EC2_INVALID_NAT_GATEWAY_ID_NOT_FOUND, "natGateway"},
        {in->transit_gateway_id, &EC2_INVALID_TRANSIT_GATEWAY_ID_NOT_FOUND, "transitGateway"},
        {in->vpc_peering_connection_id, &EC2_INVALID_VPC_PEERING_CONNECTION_ID_NOT_FOUND, "vpcPeeringConnection"},
        {in->egress_only_internet_gateway_id, &EC2_INVALID_GATEWAY_ID_NOT_FOUND, "egressOnlyInternetGateway"},
        {in->vpc_endpoint_id, &EC2_INVALID_VPC_ENDPOINT_ID_NOT_FOUND, "vpcEndpoint"},
        {in->local_gateway_id, &EC2_INVALID_GATEWAY_ID_NOT_FOUND, "localGateway"},
        {in->carrier_gateway_id, &EC2_INVALID_GATEWAY_ID_NOT_FOUND, "carrierGateway"},
    };

    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (targets[i].id.p)
            return err_aws(err, targets[i].code, "The %s ID '" STR_FMT "' does not exist", targets[i].noun,
                           STR_ARG(str_first(targets[i].id, 64)));
    if (in->instance_id.p || in->network_interface_id.p)
        return err_aws(err, &AWS_NOT_IMPLEMENTED, "Routes to instances and network interfaces are not built yet.");
    if (in->core_network_arn.p || in->odb_network_arn.p)
        return err_aws(err, &AWS_NOT_IMPLEMENTED, "Routes to core networks are not built yet.");
    return err_aws(err, &EC2_MISSING_PARAMETER,
                   "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, "
                   "vpcPeeringConnectionId, egressOnlyInternetGatewayId, transitGatewayId, localGatewayId, "
                   "instanceId, carrierGatewayId or vpcEndpointId");
}

static struct ec2_route *find_route(struct ec2_route_table *table, struct str cidr)
{
    for (size_t i = 0; i < table->routes.count; i++)
        if (str_equal(table->routes.items[i].destination_cidr_block, cidr))
            return &table->routes.items[i];
    return NULL;
}

static bool is_local(const struct ec2_route *route)
{
    return str_equal(route->gateway_id, S("local"));
}

/* Within a block of the VPC itself only interfaces and the like can be targets, none of which is built. */
static int check_outside_vpc(const struct ec2_route_table *table, struct str cidr, struct err *err)
{
    uint32_t network, block;
    unsigned prefix, block_prefix;

    cidr_parse(cidr, &network, &prefix);
    for (size_t i = 0; i < table->routes.count; i++)
        if (is_local(&table->routes.items[i]) &&
            cidr_parse(table->routes.items[i].destination_cidr_block, &block, &block_prefix) && prefix > block_prefix &&
            (network & prefix_mask(block_prefix)) == block)
            return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                           "The destination CIDR block " STR_FMT
                           " is equal to or more specific than one of this VPC's CIDR blocks. This route can target "
                           "only an interface or an instance.",
                           STR_ARG(cidr));
    return 0;
}

static struct ec2_route *append_route(struct call *call, struct ec2_route_table *table)
{
    struct ec2_route *items = arena_array(call->arena, struct ec2_route, table->routes.count + 1);

    if (table->routes.count)
        memcpy(items, table->routes.items, table->routes.count * sizeof *items);
    table->routes.items = items;
    return &items[table->routes.count++];
}

enum { MAX_ROUTES = 500 }; /* a table: the quota's default */

int ec2_create_route(struct call *call, const struct ec2_create_route_request *in, struct ec2_create_route_result *out,
                     struct err *err)
{
    struct ec2_route route = {.origin = S("CreateRoute"), .state = S("active")}, *existing;
    struct ec2_route_table *table;
    int r = route_table_edit(call->tx, in->route_table_id, &table, err);

    if (r == 0)
        r = destination(call, in->destination_cidr_block, in->destination_ipv6_cidr_block,
                        in->destination_prefix_list_id, &route.destination_cidr_block, err);
    if (r == 0)
        r = in->gateway_id.p ? target_gateway(call, table, in->gateway_id, &route, err) : target_not_built(in, err);
    if (r == 0)
        r = check_outside_vpc(table, route.destination_cidr_block, err);
    if (r < 0)
        return r;
    existing = find_route(table, route.destination_cidr_block);
    out->return_ = YES;
    if (existing && str_equal(existing->gateway_id, route.gateway_id))
        return 0; /* the same again succeeds */
    if (existing)
        return err_aws(err, &EC2_ROUTE_ALREADY_EXISTS, "The route identified by " STR_FMT " already exists.",
                       STR_ARG(route.destination_cidr_block));
    if (table->routes.count >= MAX_ROUTES)
        return err_aws(err, &EC2_ROUTE_LIMIT_EXCEEDED, "The maximum number of routes has been reached.");
    *append_route(call, table) = route;
    return 0;
}

int ec2_replace_route(struct call *call, const struct ec2_replace_route_request *in, void *out, struct err *err)
{
    const struct ec2_create_route_request as_create = {
        .nat_gateway_id = in->nat_gateway_id,
        .transit_gateway_id = in->transit_gateway_id,
        .vpc_peering_connection_id = in->vpc_peering_connection_id,
        .egress_only_internet_gateway_id = in->egress_only_internet_gateway_id,
        .vpc_endpoint_id = in->vpc_endpoint_id,
        .local_gateway_id = in->local_gateway_id,
        .carrier_gateway_id = in->carrier_gateway_id,
        .instance_id = in->instance_id,
        .network_interface_id = in->network_interface_id,
        .core_network_arn = in->core_network_arn,
        .odb_network_arn = in->odb_network_arn};
    struct ec2_route target = {0}, *route;
    struct ec2_route_table *table;
    struct str cidr;
    int r = route_table_edit(call->tx, in->route_table_id, &table, err);

    if (r == 0)
        r = destination(call, in->destination_cidr_block, in->destination_ipv6_cidr_block,
                        in->destination_prefix_list_id, &cidr, err);
    if (r == 0)
        r = in->gateway_id.p ? target_gateway(call, table, in->gateway_id, &target, err)
                             : target_not_built(&as_create, err);
    if (r < 0)
        return r;
    route = find_route(table, cidr);
    if (!route || is_local(route))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "There is no route defined for '" STR_FMT "' in the route table. Use CreateRoute instead.",
                       STR_ARG(cidr));
    route->gateway_id = target.gateway_id;
    route->state = S("active");
    return 0;
}

int ec2_delete_route(struct call *call, const struct ec2_delete_route_request *in, void *out, struct err *err)
{
    struct ec2_route_table *table;
    struct ec2_route *route;
    struct str cidr;
    int r = route_table_edit(call->tx, in->route_table_id, &table, err);

    if (r == 0)
        r = destination(call, in->destination_cidr_block, in->destination_ipv6_cidr_block,
                        in->destination_prefix_list_id, &cidr, err);
    if (r < 0)
        return r;
    route = find_route(table, cidr);
    if (!route)
        return err_aws(err, &EC2_INVALID_ROUTE_NOT_FOUND,
                       "no route with destination-cidr-block " STR_FMT " in route table " STR_FMT, STR_ARG(cidr),
                       STR_ARG(table->route_table_id));
    if (is_local(route))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "cannot remove local route " STR_FMT " in route table " STR_FMT, STR_ARG(cidr),
                       STR_ARG(table->route_table_id));
    memmove(route, route + 1, (size_t)(table->routes.items + table->routes.count - route - 1) * sizeof *route);
    table->routes.count--;
    return 0;
}

static struct ec2_route_table_association *append_association(struct call *call, struct ec2_route_table *table)
{
    struct ec2_route_table_association *items = arena_array(call->arena, struct ec2_route_table_association,
                                                            table->associations.count + 1);

    if (table->associations.count)
        memcpy(items, table->associations.items, table->associations.count * sizeof *items);
    table->associations.items = items;
    return &items[table->associations.count++];
}

int ec2_associate_route_table(struct call *call, const struct ec2_associate_route_table_request *in,
                              struct ec2_associate_route_table_result *out, struct err *err)
{
    struct ec2_route_table_association *association;
    struct ec2_route_table *table;
    const struct ec2_subnet *subnet;
    int r = route_table_edit(call->tx, in->route_table_id, &table, err);

    if (r < 0)
        return r;
    if (in->gateway_id.p || in->public_ipv4_pool.p)
        return err_aws(err, &AWS_NOT_IMPLEMENTED,
                       "Associations of route tables with gateways and pools are not built yet.");
    if (!in->subnet_id.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter subnetId");
    r = subnet_get(call->tx, in->subnet_id, &subnet, err);
    if (r < 0)
        return r;
    if (!str_equal(subnet->vpc_id, table->vpc_id))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "route table " STR_FMT " and subnet " STR_FMT " belong to different networks",
                       STR_ARG(table->route_table_id), STR_ARG(subnet->subnet_id));
    if (tx_find_any(call->tx, EC2_ROUTE_TABLE, EC2_ROUTE_TABLE_BY_ASSOCIATIONS_SUBNET_ID, subnet->subnet_id))
        return err_aws(err, &EC2_RESOURCE_ALREADY_ASSOCIATED,
                       "the specified association for route table " STR_FMT " conflicts with an existing association",
                       STR_ARG(table->route_table_id));
    association = append_association(call, table);
    *association = (struct ec2_route_table_association){
        .main = NO,
        .route_table_association_id = id_new(call->arena, S("rtbassoc-")),
        .route_table_id = table->route_table_id,
        .subnet_id = subnet->subnet_id,
        .association_state = associated(call)};
    out->association_id = association->route_table_association_id;
    out->association_state = association->association_state;
    return 0;
}

/* The table that has the association, ready to change, and where in it. */
static int edit_by_association(struct call *call, struct str id, struct ec2_route_table **ret, size_t *ret_at,
                               struct err *err)
{
    const struct ec2_route_table *const *found;
    size_t count = route_table_find(call->tx, EC2_ROUTE_TABLE_BY_ASSOCIATIONS_ROUTE_TABLE_ASSOCIATION_ID, id, &found);

    if (!count)
        return err_aws(err, &EC2_INVALID_ASSOCIATION_ID_NOT_FOUND, "The association ID '" STR_FMT "' does not exist",
                       STR_ARG(str_first(id, 64)));
    *ret = tx_edit(call->tx, EC2_ROUTE_TABLE, found[0]->route_table_id);
    for (*ret_at = 0; !str_equal((*ret)->associations.items[*ret_at].route_table_association_id, id);)
        ++*ret_at;
    return 0;
}

static void drop_association(struct ec2_route_table *table, size_t at)
{
    struct ec2_route_table_association *items = table->associations.items;

    memmove(items + at, items + at + 1, (table->associations.count - at - 1) * sizeof *items);
    table->associations.count--;
}

int ec2_disassociate_route_table(struct call *call, const struct ec2_disassociate_route_table_request *in, void *out,
                                 struct err *err)
{
    struct ec2_route_table *table;
    size_t at;
    int r = edit_by_association(call, in->association_id, &table, &at, err);

    if (r < 0)
        return r;
    if (table->associations.items[at].main.value)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "cannot disassociate the main route table association " STR_FMT, STR_ARG(in->association_id));
    drop_association(table, at);
    return 0;
}

/* Also how another table becomes a VPC's main one. */
int ec2_replace_route_table_association(struct call *call, const struct ec2_replace_route_table_association_request *in,
                                        struct ec2_replace_route_table_association_result *out, struct err *err)
{
    struct ec2_route_table *from, *to;
    struct ec2_route_table_association moved;
    size_t at;
    int r = route_table_edit(call->tx, in->route_table_id, &to, err);

    if (r == 0)
        r = edit_by_association(call, in->association_id, &from, &at, err);
    if (r < 0)
        return r;
    if (!str_equal(from->vpc_id, to->vpc_id))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "route table " STR_FMT " and route table " STR_FMT " belong to different networks",
                       STR_ARG(to->route_table_id), STR_ARG(from->route_table_id));
    moved = from->associations.items[at];
    drop_association(from, at);
    moved.route_table_association_id = id_new(call->arena, S("rtbassoc-"));
    moved.route_table_id = to->route_table_id;
    *append_association(call, to) = moved;
    out->new_association_id = moved.route_table_association_id;
    out->association_state = associated(call);
    return 0;
}
