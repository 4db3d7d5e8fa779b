#include "aws/arn.h"

struct str arn_partition(struct str region)
{
    static const struct {
        const char *prefix, *partition;
    } others[] = {{"cn-", "aws-cn"},         {"us-gov-", "aws-us-gov"}, {"us-iso-", "aws-iso"},
                  {"us-isob-", "aws-iso-b"}, {"us-isof-", "aws-iso-f"}, {"eu-isoe-", "aws-iso-e"},
                  {"eusc-", "aws-eusc"}};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_starts(region, str_of(others[i].prefix)))
            return str_of(others[i].partition);
    return S("aws");
}

struct str arn_make(struct arena *arena, struct str home, const char *service, struct str region, struct str account,
                    struct str resource)
{
    return arena_printf(arena, "arn:" STR_FMT ":%s:" STR_FMT ":" STR_FMT ":" STR_FMT, STR_ARG(arn_partition(home)),
                        service, STR_ARG(region), STR_ARG(account), STR_ARG(resource));
}
