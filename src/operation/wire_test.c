/* The wire of the ec2 and query protocols, byte by byte. Every operation against botocore: tests/oracle. */
#include "aws/codec.h"
#include "aws/query.h"
#include "base/mem.h"
#include "ec2.h"
#include "errors.h"
#include "sts.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct arena arena;
static struct err err;

static int decode(const struct service *service, const char *operation, const char *text, void *in)
{
    struct form form = {0};
    int r = form_parse(&arena, str_of(text), &form, &err);

    return r < 0 ? r : query_decode(service, service_operation(service, str_of(operation)), &form, &arena, in, &err);
}

static void lists_may_come_in_any_order_and_with_gaps(void **state)
{
    struct ec2_describe_instances_request in = {0};

    assert_int_equal(decode(&ec2_service, "DescribeInstances",
                            "InstanceId.30=i-c&Filter.2.Value.1=b&InstanceId.4=i-b&Filter.1.Name=x&InstanceId.1=i-a&"
                            "Filter.2.Name=y&Filter.10.Name=z",
                            &in),
                     0);
    assert_int_equal(in.instance_ids.count, 3);
    assert_true(str_equal(in.instance_ids.items[0], S("i-a")));
    assert_true(str_equal(in.instance_ids.items[2], S("i-c")));
    assert_int_equal(in.filters.count, 3);
    assert_true(str_equal(in.filters.items[1].name, S("y")));
    assert_true(str_equal(in.filters.items[1].values.items[0], S("b")));
    assert_true(str_equal(in.filters.items[2].name, S("z")));
}

static void a_parameter_that_the_model_lacks_is_named(void **state)
{
    struct ec2_describe_instances_request in = {0};

    assert_int_equal(decode(&ec2_service, "DescribeInstances", "Nonsense=1", &in), -1);
    assert_ptr_equal(err.aws, &AWS_UNKNOWN_PARAMETER);
    assert_string_equal(err.text, "The parameter Nonsense is not recognized");
    assert_int_equal(decode(&ec2_service, "DescribeInstances", "InstanceId.0=i-a", &in), -1);
    assert_int_equal(decode(&ec2_service, "DescribeInstances", "InstanceId.x=i-a", &in), -1);
    assert_int_equal(decode(&ec2_service, "DescribeInstances", "InstanceId=i-a", &in), -1);
}

static void a_number_that_is_none_or_too_big_is_refused(void **state)
{
    struct ec2_describe_instances_request in = {0};

    assert_int_equal(decode(&ec2_service, "DescribeInstances", "MaxResults=ten", &in), -1);
    assert_ptr_equal(err.aws, &AWS_INVALID_PARAMETER_VALUE);
    assert_int_equal(decode(&ec2_service, "DescribeInstances", "MaxResults=4294967296", &in), -1);
    assert_int_equal(decode(&ec2_service, "DescribeInstances", "MaxResults=5", &in), 0);
    assert_int_equal(in.max_results.value, 5);
}

static void what_signs_a_request_is_no_parameter(void **state)
{
    struct ec2_describe_regions_request in = {0};

    assert_int_equal(decode(&ec2_service, "DescribeRegions",
                            "Action=DescribeRegions&Version=2016-11-15&X-Amz-Signature=1&X-Amz-Credential=a%2Fb&"
                            "RegionName.1=eu-west-1",
                            &in),
                     0);
    assert_true(str_equal(in.region_names.items[0], S("eu-west-1")));
}

static void a_blob_arrives_as_its_bytes(void **state)
{
    struct ec2_import_key_pair_request in = {0};

    assert_int_equal(decode(&ec2_service, "ImportKeyPair", "KeyName=a&PublicKeyMaterial=aGFhcg%3D%3D", &in), 0);
    assert_true(str_equal(in.public_key_material, S("haar")));
    assert_int_equal(decode(&ec2_service, "ImportKeyPair", "KeyName=a&PublicKeyMaterial=aGFh!", &in), -1);
}

static struct str encoded(const struct service *service, const char *name, const void *out)
{
    const struct operation *operation = service_operation(service, str_of(name));
    struct buf body = BUF_INIT;
    struct str text;

    codec_begin(service, operation, S("r-1"), &body);
    if (operation->output != NO_SHAPE)
        codec_content(service, &service->shapes[operation->output], out, &body);
    codec_end(service, operation, S("r-1"), &body);
    text = arena_str(&arena, buf_str(&body));
    buf_free(&body);
    return text;
}

static void an_ec2_answer_has_its_envelope(void **state)
{
    struct ec2_tag tags[] = {{.key = S("a&b"), .value = S("<\"x\">")}};
    struct ec2_internet_gateway gateway = {.internet_gateway_id = S("igw-1"), .tags = {tags, 1}};
    struct ec2_create_internet_gateway_result out = {.internet_gateway = &gateway};

    assert_string_equal(
        encoded(&ec2_service, "CreateInternetGateway", &out).p,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CreateInternetGatewayResponse "
        "xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId><internetGateway>"
        "<attachmentSet></attachmentSet><internetGatewayId>igw-1</internetGatewayId><tagSet><item><key>a&amp;b</key>"
        "<value>&lt;&quot;x&quot;&gt;</value></item></tagSet></internetGateway></CreateInternetGatewayResponse>");
}

static void an_operation_without_output_answers_return(void **state)
{
    assert_non_null(strstr(encoded(&ec2_service, "DeleteVpc", NULL).p,
                           "<requestId>r-1</requestId><return>true</return></DeleteVpcResponse>"));
}

static void a_query_answer_wraps_its_result(void **state)
{
    struct sts_get_caller_identity_response out = {.account = S("1"), .arn = S("a"), .user_id = S("u")};

    assert_non_null(
        strstr(encoded(&sts_service, "GetCallerIdentity", &out).p,
               "<GetCallerIdentityResult><UserId>u</UserId><Account>1</Account><Arn>a</Arn></GetCallerIdentityResult>"
               "<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"));
}

static void what_xml_cannot_hold_is_replaced(void **state)
{
    struct sts_get_caller_identity_response out = {.account = S("a\x01z\r\n\ttail of some length")};

    assert_non_null(strstr(encoded(&sts_service, "GetCallerIdentity", &out).p,
                           "<Account>a\xef\xbf\xbdz&#xd;\n\ttail of some length</Account>"));
}

static void an_error_has_the_protocols_form(void **state)
{
    AUTO_BUF ec2 = BUF_INIT, sts = BUF_INIT;

    codec_error(&ec2_service, &EC2_INVALID_VPC_ID_NOT_FOUND, S("no <vpc>"), S("r-1"), &ec2);
    buf_byte(&ec2, '\0');
    assert_string_equal(
        ec2.p, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>InvalidVpcID.NotFound</Code>"
               "<Message>no &lt;vpc&gt;</Message></Error></Errors><RequestID>r-1</RequestID></Response>");
    codec_error(&sts_service, &AWS_INTERNAL_ERROR, S("oh"), S("r-1"), &sts);
    buf_byte(&sts, '\0');
    assert_non_null(
        strstr(sts.p, "<Error><Type>Receiver</Type><Code>InternalError</Code><Message>oh</Message></Error>"));
}

static int empty(void **state)
{
    arena_free(&arena);
    err = ERR_INIT;
    return 0;
}

int main(void)
{
    static const struct CMUnitTest query_tests[] = {
        cmocka_unit_test_teardown(lists_may_come_in_any_order_and_with_gaps, empty),
        cmocka_unit_test_teardown(a_parameter_that_the_model_lacks_is_named, empty),
        cmocka_unit_test_teardown(a_number_that_is_none_or_too_big_is_refused, empty),
        cmocka_unit_test_teardown(what_signs_a_request_is_no_parameter, empty),
        cmocka_unit_test_teardown(a_blob_arrives_as_its_bytes, empty),
        cmocka_unit_test_teardown(an_ec2_answer_has_its_envelope, empty),
        cmocka_unit_test_teardown(an_operation_without_output_answers_return, empty),
        cmocka_unit_test_teardown(a_query_answer_wraps_its_result, empty),
        cmocka_unit_test_teardown(what_xml_cannot_hold_is_replaced, empty),
        cmocka_unit_test_teardown(an_error_has_the_protocols_form, empty),
    };

    return cmocka_run_group_tests(query_tests, NULL, NULL);
}
