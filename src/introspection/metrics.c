/* Prometheus's text format, version 0.0.4. */
#include "introspection/answer.h"

#include "base/mem.h"
#include "base/time.h"
#include "http/server.h"

#include "ec2.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static void put(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name, type, name, value);
}

static uint64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long size = 0, resident = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void count_world(void *cookie, struct tx *tx)
{
    uint64_t *counts = cookie;

    for (uint16_t kind = 0; kind < EC2_KINDS; kind++)
        counts[kind] += tx_count(tx, kind);
}

static void put_records(struct introspection *own, struct http_request *request, struct buf *out)
{
    uint64_t counts[EC2_KINDS] = {0};

    each_world(own, request->arena, count_world, counts);
    buf_printf(out, "# HELP haar_records Records of every kind, over all accounts and regions.\n"
                    "# TYPE haar_records gauge\n");
    for (uint16_t kind = 0; kind < EC2_KINDS; kind++)
        buf_printf(out, "haar_records{kind=\"%s\"} %" PRIu64 "\n", ec2_store_kinds[kind].name, counts[kind]);
}

static void put_store(struct introspection *own, struct buf *out)
{
    struct store *store = own->engine->store;

    put(out, "haar_commits_total", "counter", "Commits, of this start and, with --data, of those before.",
        store_last(store));
    put(out, "haar_commits_pending", "gauge", "Commits that are not durable yet.",
        store_last(store) - store_durable(store));
    put(out, "haar_journal_healthy", "gauge", "1 while the journal can be written, or there is none.",
        store_healthy(store));
}

static void put_http(struct introspection *own, struct buf *out)
{
    struct http_counts counts = http_server_counts(own->http);

    put(out, "haar_api_calls_total", "counter", "Calls of AWS operations answered.", endpoint_calls(own->endpoint));
    put(out, "haar_http_requests_total", "counter", "HTTP requests.", counts.requests);
    put(out, "haar_http_connections", "gauge", "Open connections.", counts.connections);
    put(out, "haar_http_in_flight", "gauge", "Requests that wait for their answer.", counts.in_flight);
    put(out, "haar_http_buffered_bytes", "gauge", "Bytes held for connections.", counts.buffered_bytes);
}

void on_metrics(void *cookie, struct http_request *request)
{
    struct introspection *own = cookie;
    struct buf body = BUF_INIT;

    buf_printf(&body,
               "# HELP haar_build_info Always 1.\n# TYPE haar_build_info gauge\n"
               "haar_build_info{version=\"%s\",backend=\"" STR_FMT "\"} 1\n",
               HAAR_VERSION, STR_ARG(own->engine->backend));
    put_http(own, &body);
    put_store(own, &body);
    put_records(own, request, &body);
    put(&body, "haar_worker_jobs", "gauge", "Jobs that wait for a worker or run on one.",
        work_pending(own->engine->pool));
    put(&body, "haar_uptime_seconds", "gauge", "Since the start.",
        (uint64_t)(time_monotonic_us() - own->started_us) / 1000000);
    put(&body, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    answer_when_durable(own, request, S("text/plain; version=0.0.4; charset=utf-8"), &body);
}
