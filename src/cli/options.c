#include "cli/options.h"

static const struct option *find(const struct option *options, struct str name)
{
    for (; options->name; options++)
        if (str_equal(str_of(options->name), name))
            return options;
    return NULL;
}

/* -it: each letter is a flag of its own. */
static bool set_letters(const struct option *options, struct str word)
{
    for (size_t i = 1; i < word.len; i++) {
        char name[] = {'-', word.p[i], '\0'};
        const struct option *option = find(options, str_of(name));

        if (!option || !option->flag)
            return false;
        *option->flag = true;
    }
    return word.len > 1;
}

/* Words taken. */
static int parse_one(const struct words *words, const struct option *options, struct err *err)
{
    struct str value = str_of(words->items[0]), name = str_cut(&value, '=');
    const struct option *option = find(options, name);

    if (!option) {
        if (!str_starts(name, S("--")) && set_letters(options, str_of(words->items[0])))
            return 1;
        return err_plain(err, "there is no flag " STR_FMT " here; --help lists them", STR_ARG(name));
    }
    if (option->flag) {
        *option->flag = true;
        return value.p ? err_plain(err, "%s takes no value", option->name) : 1;
    }
    if (!value.p && words->count < 2)
        return err_plain(err, "%s needs a value", option->name);
    *option->value = value.p ? value : str_of(words->items[1]);
    return value.p ? 1 : 2;
}

int options_parse(struct words *words, const struct option *options, struct err *err)
{
    while (words->count && words->items[0][0] == '-' && words->items[0][1]) {
        struct str word = str_of(words->items[0]);
        int taken = 1;

        if (str_equal(word, S("--help")) || str_equal(word, S("-h")))
            return 1;
        if (!str_equal(word, S("--")))
            taken = parse_one(words, options, err);
        if (taken < 0)
            return taken;
        words->items += taken;
        words->count -= taken;
        if (str_equal(word, S("--")))
            break;
    }
    return 0;
}
