/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshots as text for Prometheus. A family is a block, with all its VMs: so the text is made
 * by family, then by VM, then by label. Each sample is there, also where it is zero, for a rate
 * is only known of what has been seen before.
 */
#include "control/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/error.h"

#define PREFIX "vhost_vsock_"

struct text {
	char *bytes;				/* owned */
	size_t len, size;
	bool is_lost;				/* no memory: nothing is added any more */
};

/* False: there is none. */
static bool has_room(struct text *t, size_t n)
{
	size_t size = t->size;
	char *bytes;

	if (t->size - t->len >= n)
		return true;
	if (t->is_lost)
		return false;
	while (size - t->len < n)
		size = size ? 2 * size : 64 * 1024;
	bytes = realloc(t->bytes, size);
	if (!bytes) {
		t->is_lost = true;
		return false;
	}
	t->bytes = bytes;
	t->size = size;
	return true;
}

static void put(struct text *t, const char *bytes)
{
	size_t n = strlen(bytes);

	if (!has_room(t, n))
		return;
	memcpy(t->bytes + t->len, bytes, n);
	t->len += n;
}

/* As snprintf(), which takes longer than all the rest. */
static void put_number(struct text *t, uint64_t number)
{
	char digits[24], *at = digits + sizeof digits - 1;

	*at = '\0';
	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	put(t, at);
}

/* A @part of a second, 1000 or 1000000 of which make one. */
static void put_seconds(struct text *t, uint64_t part, unsigned per_second)
{
	char fraction[8];
	unsigned n = 0;

	put_number(t, part / per_second);
	fraction[n++] = '.';
	for (unsigned scale = per_second / 10; scale; scale /= 10)
		fraction[n++] = (char)('0' + part / scale % 10);
	fraction[n] = '\0';
	put(t, fraction);
}

static void put_value(struct text *t, enum counters_unit unit, uint64_t value)
{
	if (unit == UNIT_MS)
		put_seconds(t, value, 1000);
	else if (unit == UNIT_US)
		put_seconds(t, value, 1000000);
	else
		put_number(t, value);
}

/* A label's value: 0.0.4 escapes three characters. */
static void put_escaped(struct text *t, const char *value)
{
	for (; *value; value++) {
		char one[2] = { *value, '\0' };

		put(t, *value == '\\' ? "\\\\" : *value == '"' ? "\\\"" : *value == '\n' ? "\\n" :
		    one);
	}
}

/* ---- families of VMs ---- */

/* In base units, as Prometheus wants it. */
static const char *unit_str(enum counters_unit unit)
{
	return unit == UNIT_MS || unit == UNIT_US ? "_seconds" : counters_unit_str(unit);
}

static void put_name(struct text *t, const struct counters_family *f)
{
	put(t, PREFIX);
	put(t, f->name);
	put(t, unit_str(f->unit));
	if (f->kind == COUNTERS_COUNTER)
		put(t, "_total");
}

static void put_head(struct text *t, const struct counters_family *f)
{
	static const char *const kinds[] = {
		[COUNTERS_COUNTER] = " counter\n", [COUNTERS_GAUGE] = " gauge\n",
		[COUNTERS_HISTOGRAM] = " histogram\n",
	};

	put(t, "# HELP ");
	put_name(t, f);
	put(t, " ");
	put(t, f->help);
	put(t, "\n# TYPE ");
	put_name(t, f);
	put(t, kinds[f->kind]);
}

static void put_vm(struct text *t, uint64_t cid)
{
	put(t, "{vm=\"");
	put_number(t, cid);
	put(t, "\"");
}

static void put_label(struct text *t, enum counters_label label, const char *value)
{
	put(t, ",");
	put(t, counters_label_name(label));
	put(t, "=\"");
	put(t, value);
	put(t, "\"");
}

/* False: the number @i of the family is none that is shown. */
static bool put_labels(struct text *t, const struct counters_family *f, unsigned i)
{
	unsigned n = counters_label_size(f->labels[1]);
	const char *first = f->labels[0] ? counters_label_value(f->labels[0], i / n) : "";
	const char *second = f->labels[1] ? counters_label_value(f->labels[1], i % n) : "";

	if (!first || !second)
		return false;
	if (f->labels[0])
		put_label(t, f->labels[0], first);
	if (f->labels[1])
		put_label(t, f->labels[1], second);
	return true;
}

static void put_numbers(struct text *t, const struct counters_family *f,
			const struct device_snapshot *dev)
{
	const uint64_t *values = counters_values(&dev->counters, f);

	for (unsigned i = 0; i < counters_family_size(f); i++) {
		size_t begin = t->len;

		put_name(t, f);
		put_vm(t, dev->cid);
		if (!put_labels(t, f, i)) {
			t->len = begin;
			continue;
		}
		put(t, "} ");
		put_value(t, f->unit, values[i]);
		put(t, "\n");
	}
}

static void put_of_histogram(struct text *t, const struct counters_family *f, uint64_t cid,
			     const char *what)
{
	put_name(t, f);
	put(t, what);
	put_vm(t, cid);
	put(t, "} ");
}

static void put_histogram(struct text *t, const struct counters_family *f,
			  const struct device_snapshot *dev)
{
	const struct histogram *h = counters_histogram(&dev->counters, f);
	uint64_t n = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t bound = counters_bound(f, i);

		n += h->buckets[i];
		put_name(t, f);
		put(t, "_bucket");
		put_vm(t, dev->cid);
		put(t, ",le=\"");
		if (bound == UINT64_MAX)
			put(t, "+Inf");
		else
			put_value(t, f->unit, bound);
		put(t, "\"} ");
		put_number(t, n);
		put(t, "\n");
	}
	put_of_histogram(t, f, dev->cid, "_sum");
	put_value(t, f->unit, h->sum);
	put(t, "\n");
	put_of_histogram(t, f, dev->cid, "_count");
	put_number(t, n);
	put(t, "\n");
}

static void put_family(struct text *t, const struct counters_family *f,
		       const struct snapshots_answer *answer)
{
	put_head(t, f);
	for (size_t i = 0; i < answer->n_vms; i++) {
		if (f->kind == COUNTERS_HISTOGRAM)
			put_histogram(t, f, &answer->vms[i].device);
		else
			put_numbers(t, f, &answer->vms[i].device);
	}
}

/* ---- of the process ---- */

static void put_process_head(struct text *t, const char *name, const char *kind, const char *help)
{
	const char *const parts[] = {
		"# HELP ", PREFIX, name, " ", help, "\n# TYPE ", PREFIX, name, " ", kind, "\n",
		PREFIX, name,
	};

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		put(t, parts[i]);
}

static void put_process(struct text *t, const struct process_snapshot *p)
{
	for (size_t i = 0; i < snapshots_num_families; i++) {
		const struct snapshots_family *f = &snapshots_families[i];

		put_process_head(t, f->metric, f->is_counter ? "counter" : "gauge", f->help);
		put(t, " ");
		put_value(t, f->unit, snapshots_process_value(p, f));
		put(t, "\n");
	}
	put_process_head(t, "build_info", "gauge", "The version, as a label.");
	put(t, "{version=\"");
	put_escaped(t, VERSION);
	put(t, "\"} 1\n");
}

int metrics_print(const struct snapshots_answer *answer, char **text, size_t *len)
{
	struct text t = { .bytes = NULL };

	put_process(&t, &answer->process);
	for (size_t i = 0; i < counters_num_families; i++)
		put_family(&t, &counters_families[i], answer);
	if (!has_room(&t, 1)) {
		free(t.bytes);
		return -ENOMEM;
	}
	t.bytes[t.len] = '\0';
	*text = t.bytes;
	*len = t.len;
	return 0;
}
