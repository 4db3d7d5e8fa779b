#include "workload/usage.h"
#include "base/fd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct usage no_limit = {UINT64_MAX, UINT64_MAX};
static uint64_t much;
static char place[64];

static int make_place(void **state)
{
    much = UINT64_MAX;
    snprintf(place, sizeof place, "/tmp/haar-usage-XXXXXX");
    return mkdtemp(place) ? 0 : -1;
}

static int remove_place(void **state)
{
    return tree_remove(AT_FDCWD, place, &ERR_INIT);
}

static const char *in(const char *name)
{
    static char paths[4][PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, PATH_MAX, "%s/%s", place, name);
    return path;
}

static void put(const char *name, size_t size)
{
    char *bytes = calloc(1, size);
    struct err err = ERR_INIT;

    memset(bytes, 'x', size);
    if (file_write(AT_FDCWD, in(name), (struct str){bytes, size}, 0600, &err) < 0)
        fail_msg("%s", err.text);
    free(bytes);
}

static uint64_t blocks_of(const char *name)
{
    struct stat st;

    assert_int_equal(lstat(in(name), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void what_is_counted_is_blocks_of_files_and_folders(void **state)
{
    struct usage usage = {0};
    uint64_t wanted;

    put("a", 100000);
    mkdir(in("folder"), 0700);
    mkdir(in("folder/inside"), 0700);
    put("folder/inside/b", 5000);
    put("sparse", 1);
    assert_int_equal(truncate(in("sparse"), 1 << 30), 0);
    assert_int_equal(symlink("a", in("link")), 0);
    wanted = blocks_of("a") + blocks_of("folder") + blocks_of("folder/inside") + blocks_of("folder/inside/b") +
             blocks_of("sparse") + blocks_of("link");
    assert_int_equal(usage_of_folder(place, &no_limit, &much, &usage), 0);
    assert_int_equal(usage.files, 6);
    assert_int_equal(usage.bytes, wanted);
    assert_in_range(usage.bytes, 105000, 400000);
}

static void a_file_with_many_names_is_one(void **state)
{
    struct usage usage = {0};

    put("a", 100000);
    mkdir(in("folder"), 0700);
    for (int i = 0; i < 200; i++) {
        char name[32];

        snprintf(name, sizeof name, "folder/%d", i);
        assert_int_equal(link(in("a"), in(name)), 0);
    }
    assert_int_equal(usage_of_folder(place, &no_limit, &much, &usage), 0);
    assert_int_equal(usage.files, 2);
    assert_int_equal(usage.bytes, blocks_of("a") + blocks_of("folder"));
}

static void names_are_limited_too(void **state)
{
    const struct usage few = {1 << 30, 10};
    struct usage usage = {0};

    put("a", 1);
    for (int i = 0; i < 200; i++) {
        char name[32];

        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(link(in("a"), in(name)), 0);
    }
    assert_int_equal(usage_of_folder(place, &few, &much, &usage), USAGE_PAST);
}

static void a_count_ends_where_the_limit_is_passed(void **state)
{
    const struct usage small = {100000, 1000};
    struct usage usage = {0};

    for (int i = 0; i < 100; i++) {
        char name[32];

        snprintf(name, sizeof name, "%d", i);
        put(name, 60000);
    }
    assert_int_equal(usage_of_folder(place, &small, &much, &usage), USAGE_PAST);
    assert_in_range(usage.bytes, 100001, 300000);
}

/* Folders in folders; back in the place at the end. */
static void nest(int levels, const char *name)
{
    int at = open(place, O_RDONLY | O_DIRECTORY);

    for (int i = 0; i < levels; i++) {
        int next;

        assert_int_equal(mkdirat(at, name, 0700), 0);
        next = openat(at, name, O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    assert_int_equal(file_write(at, "file", S("x"), 0600, &ERR_INIT), 0);
    close(at);
}

static void folders_nest_deeper_than_there_are_descriptors(void **state)
{
    struct usage usage = {0};

    nest(1400, "abc"); /* and than a path can say */
    nest(100, "beside");
    assert_int_equal(usage_of_folder(place, &no_limit, &much, &usage), 0);
    assert_int_equal(usage.files, 1400 + 100 + 2);
}

static void deeper_ones_are_not_counted_but_told(void **state)
{
    struct usage usage = {0};

    nest(2100, "abc");
    assert_int_equal(usage_of_folder(place, &no_limit, &much, &usage), USAGE_DEEP);
}

enum { SIBLINGS = 2000 };
static atomic_bool renaming_ends;

static void *rename_all_the_time(void *arg)
{
    int dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char from[32] = "moved", to[32];

    for (unsigned i = 0; !renaming_ends; i++) {
        snprintf(to, sizeof to, "%x-%u", i * 2654435761u, i);
        if (renameat(dir, from, dir, to) < 0)
            break;
        memcpy(from, to, sizeof to);
        usleep(100);
    }
    close(dir);
    return NULL;
}

/* Each look is a chance. */
static void a_folder_that_is_renamed_all_the_time_is_seen_soon(void **state)
{
    pthread_t thread;
    int times = 0;

    for (int i = 0; i < SIBLINGS; i++) {
        char name[32];

        snprintf(name, sizeof name, "%d", i * 7919);
        assert_int_equal(mkdir(in(name), 0700), 0);
    }
    mkdir(in("moved"), 0700);
    mkdir(in("moved/folder"), 0700);
    put("moved/folder/file", 10);
    renaming_ends = false;
    assert_int_equal(pthread_create(&thread, NULL, rename_all_the_time, NULL), 0);
    for (int i = 0; i < 60; i++) {
        struct usage usage = {0};

        assert_int_equal(usage_of_folder(place, &no_limit, &much, &usage), 0);
        assert_true(usage.files <= SIBLINGS + 3); /* … but nothing twice */
        times += usage.files == SIBLINGS + 3;
    }
    renaming_ends = true;
    pthread_join(thread, NULL);
    assert_true(times > 0);
}

static void no_link_leads_out(void **state)
{
    struct usage usage = {0};

    assert_int_equal(symlink("/usr", in("usr")), 0);
    assert_int_equal(usage_of_folder(place, &no_limit, &much, &usage), 0);
    assert_int_equal(usage.files, 1);
}

static void no_folder_has_nothing(void **state)
{
    struct usage usage = {0};

    assert_int_equal(usage_of_folder(in("none"), &no_limit, &much, &usage), 0);
    assert_int_equal(usage.files, 0);
}

/* ---- files without a name ---- */

/* Ends of pipes in the process that holds files: it says that it does, and is told to end. */
enum { READY_FD = 100, END_FD = 101 };

static void say_ready_and_wait(void)
{
    char byte = 0;

    if (write(READY_FD, &byte, 1) == 1 && read(END_FD, &byte, 1) == 0)
        syscall(SYS_exit_group, 0);
    syscall(SYS_exit_group, 1);
}

static int make_disk(void **state)
{
    char options[4 * sizeof place];

    if (make_place(state) < 0)
        return -1;
    if (geteuid() != 0)
        return 0;
    mkdir(in("lower"), 0700);
    mkdir(in("upper"), 0700);
    mkdir(in("work"), 0700);
    mkdir(in("disk"), 0700);
    snprintf(options, sizeof options, "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", place, place, place);
    if (unshare(CLONE_NEWNS) < 0 || (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 && errno != EINVAL))
        return -1;
    return mount("overlay", in("disk"), "overlay", 0, options);
}

static int remove_disk(void **state)
{
    umount2(in("disk"), MNT_DETACH);
    return remove_place(state);
}

struct holder {
    pid_t pid;
    int end;
};

/* A process that holds files as `hold` does, which does not return. */
static struct holder hold_by(void (*hold)(void))
{
    struct holder holder;
    int ready[2], end[2];
    char byte, text[32];

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(end, O_CLOEXEC), 0);
    holder.pid = fork();
    if (holder.pid == 0) {
        close(end[1]);
        if (dup2(ready[1], READY_FD) < 0 || dup2(end[0], END_FD) < 0)
            _exit(1);
        hold();
        _exit(1);
    }
    close(ready[1]);
    close(end[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    holder.end = end[1];
    snprintf(text, sizeof text, "%d\n", (int)holder.pid);
    assert_int_equal(file_write(AT_FDCWD, in("processes"), str_of(text), 0600, &ERR_INIT), 0);
    return holder;
}

static void end_holder(struct holder holder)
{
    int status;

    close(holder.end);
    assert_int_equal(waitpid(holder.pid, &status, 0), holder.pid);
    assert_int_equal(status, 0);
}

/* "/": that every cgroup's name has. */
static int count_held(uint64_t *left, struct usage *usage)
{
    return usage_of_deleted(in("processes"), "/", &no_limit, left, usage);
}

#define NEEDS_DISK()                                     \
    do {                                                 \
        if (geteuid() != 0) {                            \
            print_message("%s: needs root\n", __func__); \
            skip();                                      \
        }                                                \
    } while (0)

static int open_deleted(const char *name)
{
    int fd;

    put(name, 1 << 20);
    fd = open(in(name), O_RDWR | O_CLOEXEC);
    return fd < 0 || unlink(in(name)) < 0 ? -1 : fd;
}

static void *outlive(void *first)
{
    if (pthread_join(*(pthread_t *)first, NULL) == 0)
        say_ready_and_wait();
    return NULL;
}

static void hold_by_a_second_thread(void)
{
    static pthread_t first;
    pthread_t second;

    first = pthread_self();
    if (open_deleted("disk/gone") >= 0 && pthread_create(&second, NULL, outlive, &first) == 0)
        syscall(SYS_exit, 0);
}

static void a_deleted_file_counts_when_its_processs_first_thread_has_ended(void **state)
{
    struct usage usage = {0};
    struct holder holder;

    NEEDS_DISK();
    holder = hold_by(hold_by_a_second_thread);
    assert_int_equal(count_held(&much, &usage), 0);
    assert_int_equal(usage.files, 1);
    assert_in_range(usage.bytes, 1 << 20, 2 << 20);
    end_holder(holder);
}

static void hold_a_folder(void)
{
    if (mkdir(in("disk/folder"), 0700) == 0 && chdir(in("disk/folder")) == 0 && rmdir(in("disk/folder")) == 0)
        say_ready_and_wait();
}

static void so_does_a_deleted_folder_in_which_a_process_is(void **state)
{
    struct usage usage = {0};
    struct holder holder;

    NEEDS_DISK();
    holder = hold_by(hold_a_folder);
    assert_int_equal(count_held(&much, &usage), 0);
    assert_int_equal(usage.files, 1);
    end_holder(holder);
}

/* A deleted file of 1 MiB is held by a mapping whose path is long, many times. */
static void hold_by_mappings(void)
{
    int fd;

    if (chdir(in("disk")) < 0)
        return;
    for (int i = 0; i < 15; i++) {
        char name[201];

        memset(name, 'd', 200);
        name[200] = '\0';
        if (mkdir(name, 0700) < 0 || chdir(name) < 0)
            return;
    }
    put("disk/kept", 1 << 20);
    if (rename(in("disk/kept"), "kept") < 0)
        return;
    fd = open("kept", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 7000; i++) {
        if (mmap(NULL, 4096, PROT_READ | (i & 1 ? PROT_WRITE : 0), MAP_SHARED, fd, 0) == MAP_FAILED)
            return;
    }
    close(fd);
    if (unlink("kept") == 0)
        say_ready_and_wait();
}

static void mappings_count_however_long_their_list_is(void **state)
{
    struct usage usage = {0};
    struct holder holder;

    NEEDS_DISK();
    holder = hold_by(hold_by_mappings);
    assert_int_equal(count_held(&much, &usage), 0);
    assert_int_equal(usage.files, 1);
    assert_in_range(usage.bytes, 1 << 20, 2 << 20);
    end_holder(holder);
}

static void how_many_are_looked_at_is_limited(void **state)
{
    struct usage usage = {0};
    struct holder holder;
    uint64_t few = 7000;

    NEEDS_DISK();
    holder = hold_by(hold_by_mappings);
    assert_int_equal(count_held(&few, &usage), USAGE_MUCH);
    few = 10;
    assert_int_equal(usage_of_folder(in("upper"), &no_limit, &few, &usage), USAGE_MUCH);
    end_holder(holder);
}

#ifdef __x86_64__
/* mov rdi, …; mov rsi, …; mov rdx, …; mov eax, …; syscall */
static unsigned char *put_call(unsigned char *at, uint32_t number, const uint64_t arguments[3])
{
    static const unsigned char registers[3] = {0xbf, 0xbe, 0xba};

    for (int i = 0; i < 3; i++) {
        *at++ = 0x48;
        *at++ = registers[i];
        memcpy(at, &arguments[i], 8);
        at += 8;
    }
    *at++ = 0xb8;
    memcpy(at, &number, 4);
    at += 4;
    *at++ = 0x0f;
    *at++ = 0x05;
    return at;
}

/* The program maps nothing of its own file any more, and then does what say_ready_and_wait does. */
static int go_on_without_a_program(const char *path)
{
    unsigned char *code = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *at = code;
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[PATH_MAX + 200];

    if (code == MAP_FAILED || !maps || unlink(path) < 0)
        return 1;
    while (at < code + (1 << 15) && fgets(line, sizeof line, maps)) {
        unsigned long from, to;

        if (strstr(line, path) && sscanf(line, "%lx-%lx", &from, &to) == 2)
            at = put_call(at, SYS_munmap, (uint64_t[3]){from, to - from});
    }
    fclose(maps);
    at = put_call(at, SYS_write, (uint64_t[3]){READY_FD, (uintptr_t)code, 1});
    at = put_call(at, SYS_read, (uint64_t[3]){END_FD, (uintptr_t)code, 1});
    put_call(at, SYS_exit_group, (uint64_t[3]){0});
    ((void (*)(void))(uintptr_t)code)();
    return 1;
}

static void hold_a_program(void)
{
    AUTO_BUF self = BUF_INIT;
    const char *program = in("disk/program");

    if (file_read(AT_FDCWD, "/proc/self/exe", &self, 1 << 30, &ERR_INIT) == 0 &&
        file_write(AT_FDCWD, program, buf_str(&self), 0700, &ERR_INIT) == 0)
        execl(program, program, "go-on-without-a-program", NULL);
}

static void a_deleted_program_counts_while_it_runs(void **state)
{
    struct usage usage = {0};
    struct holder holder;

    NEEDS_DISK();
    holder = hold_by(hold_a_program);
    assert_int_equal(count_held(&much, &usage), 0);
    assert_int_equal(usage.files, 1);
    assert_in_range(usage.bytes, 10000, 1 << 30);
    end_holder(holder);
}
#endif

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, make_disk, remove_disk)
#define PLACED(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(int argc, char **argv)
{
#ifdef __x86_64__
    if (argc > 1 && strcmp(argv[1], "go-on-without-a-program") == 0)
        return go_on_without_a_program(argv[0]);
#endif

    const struct CMUnitTest tests[] = {
        PLACED(what_is_counted_is_blocks_of_files_and_folders),
        PLACED(a_file_with_many_names_is_one),
        PLACED(names_are_limited_too),
        PLACED(a_count_ends_where_the_limit_is_passed),
        PLACED(folders_nest_deeper_than_there_are_descriptors),
        PLACED(deeper_ones_are_not_counted_but_told),
        PLACED(a_folder_that_is_renamed_all_the_time_is_seen_soon),
        PLACED(no_link_leads_out),
        PLACED(no_folder_has_nothing),
        ON_DISK(a_deleted_file_counts_when_its_processs_first_thread_has_ended),
        ON_DISK(so_does_a_deleted_folder_in_which_a_process_is),
        ON_DISK(mappings_count_however_long_their_list_is),
        ON_DISK(how_many_are_looked_at_is_limited),
#ifdef __x86_64__
        ON_DISK(a_deleted_program_counts_while_it_runs),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
