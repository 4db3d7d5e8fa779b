#include "store/doc.h"

#include "base/mem.h"
#include "store/test_model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct shape *shape_of(const struct store_kind *kind)
{
    return &kind->service->shapes[kind->shape];
}

static bool encode(struct names *names, const struct store_kind *kind, const void *data, struct str foreign,
                   struct buf *out)
{
    out->len = 0;
    return doc_encode(names, kind->service, shape_of(kind), data, foreign, out);
}

/* NULL: damaged. Else free() it. */
static void *decode(struct names *names, const struct store_kind *kind, struct str doc, bool *ret_foreign)
{
    size_t size;
    void *data;

    if (!doc_measure(names, kind->service, shape_of(kind), doc, &size, ret_foreign))
        return NULL;
    data = mem_alloc(size);
    doc_decode(names, kind->service, shape_of(kind), doc, data);
    return data;
}

static struct thing a_thing(void)
{
    static struct tag tags[] = {{S("Name"), S("web")}, {S("env"), S("")}};
    static struct str groups[] = {S("g1"), S("g2")};
    static struct place place = {.zone = S("a"), .rack = INT(-7)};

    return (struct thing){
        .id = S("t-1"),
        .name = S("thing one"),
        .size = INT(INT64_MIN),
        .ratio = DOUBLE(0.1),
        .on = NO,
        .made = TIME(1764072000123),
        .tags = {tags, 2},
        .groups = {groups, 2},
        .place = &place,
        .bytes = S("\0\xff\n"),
    };
}

static void every_kind_of_member_comes_back_and_absent_stays_absent(void **state)
{
    struct names names = {0};
    AUTO_BUF doc = BUF_INIT;
    struct thing in = a_thing(), *out;
    bool foreign;

    in.groups.count = 0; /* empty, not absent */
    assert_false(encode(&names, &model_kinds()[THING], &in, (struct str){0}, &doc));
    out = decode(&names, &model_kinds()[THING], buf_str(&doc), &foreign);
    assert_non_null(out);
    assert_false(foreign);
    assert_true(str_equal(out->id, in.id) && str_equal(out->name, in.name) && str_equal(out->bytes, in.bytes));
    assert_null(out->owner.p);
    assert_true(out->size.set && out->size.value == INT64_MIN);
    assert_true(out->ratio.set && out->ratio.value == 0.1);
    assert_true(out->on.set && !out->on.value);
    assert_true(out->made.set && out->made.ms == 1764072000123);
    assert_int_equal(out->tags.count, 2);
    assert_true(str_equal(out->tags.items[0].value, S("web")));
    assert_true(out->tags.items[1].value.p && out->tags.items[1].value.len == 0);
    assert_true(out->groups.items && out->groups.count == 0);
    assert_true(str_equal(out->place->zone, S("a")) && out->place->rack.value == -7);
    free(out);
    names_free(&names);
}

static void a_damaged_document_is_refused_or_read_but_never_more(void **state)
{
    struct names names = {0};
    AUTO_BUF doc = BUF_INIT;
    struct thing in = a_thing();
    bool foreign;

    encode(&names, &model_kinds()[THING], &in, (struct str){0}, &doc);
    for (size_t cut = 0; cut < doc.len; cut++) {
        char *exact = mem_copy(doc.p, cut); /* so that the sanitizer sees a read beyond */
        assert_null(decode(&names, &model_kinds()[THING], (struct str){exact, cut}, &foreign));
        free(exact);
    }
    for (size_t bit = 0; bit < doc.len * 8; bit++) {
        doc.p[bit / 8] ^= (char)(1 << bit % 8);
        free(decode(&names, &model_kinds()[THING], buf_str(&doc), &foreign));
        doc.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    names_free(&names);
}

static void a_later_model_keeps_what_it_does_not_know(void **state)
{
    struct names names = {0};
    AUTO_BUF old_doc = BUF_INIT, later_doc = BUF_INIT;
    struct thing in = a_thing(), *back;
    struct later_thing *later;
    struct later_tag tags[3] = {{S("red"), S("new")}, {{0}, S("env")}, {S("blue"), S("Name")}};
    bool foreign;

    encode(&names, &model_kinds()[THING], &in, (struct str){0}, &old_doc);
    later = decode(&names, &model_later_kinds()[THING], buf_str(&old_doc), &foreign);
    assert_non_null(later);
    assert_true(foreign);
    assert_true(str_equal(later->name, S("thing one")));
    assert_null(later->size.p); /* it is a text now */
    assert_true(str_equal(later->tags.items[0].key, S("Name")));

    later->name = S("renamed");
    later->tags = (struct later_tag_list){tags, 3};
    assert_true(encode(&names, &model_later_kinds()[THING], later, buf_str(&old_doc), &later_doc));
    back = decode(&names, &model_kinds()[THING], buf_str(&later_doc), &foreign);
    assert_non_null(back);
    assert_true(foreign); /* the colours */
    assert_true(str_equal(back->name, S("renamed")));
    assert_true(back->ratio.value == 0.1 && back->size.value == INT64_MIN);
    assert_true(str_equal(back->place->zone, S("a")) && str_equal(back->bytes, in.bytes));
    assert_int_equal(back->tags.count, 3);
    assert_null(back->tags.items[0].value.p);
    assert_true(str_equal(back->tags.items[1].value, S("")));
    free(later);
    free(back);
    names_free(&names);
}

static void what_the_later_model_sets_replaces_what_the_older_had(void **state)
{
    struct names names = {0};
    AUTO_BUF old_doc = BUF_INIT, later_doc = BUF_INIT;
    struct thing in = a_thing(), *back;
    struct later_thing *later;
    bool foreign;

    encode(&names, &model_kinds()[THING], &in, (struct str){0}, &old_doc);
    later = decode(&names, &model_later_kinds()[THING], buf_str(&old_doc), &foreign);
    later->size = S("large"); /* the older model has a number under this name */
    encode(&names, &model_later_kinds()[THING], later, buf_str(&old_doc), &later_doc);
    back = decode(&names, &model_kinds()[THING], buf_str(&later_doc), &foreign);
    assert_false(back->size.set);
    free(later);
    free(back);
    names_free(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_member_comes_back_and_absent_stays_absent),
        cmocka_unit_test(a_damaged_document_is_refused_or_read_but_never_more),
        cmocka_unit_test(a_later_model_keeps_what_it_does_not_know),
        cmocka_unit_test(what_the_later_model_sets_replaces_what_the_older_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
