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

#include "util/decimal.h"
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

static void put_bytes(struct text *t, const char *bytes, size_t n)
{
	if (!has_room(t, n))
		return;
	memcpy(t->bytes + t->len, bytes, n);
	t->len += n;
}

static void put(struct text *t, const char *text)
{
	put_bytes(t, text, strlen(text));
}

static void put_number(struct text *t, uint64_t number)
{
	if (has_room(t, DECIMAL_MAX))
		t->len = (size_t)(decimal_put(t->bytes + t->len, number) - t->bytes);
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

/*
 * A line of each VM, but for its CID and its value. There are ten million bytes of lines where
 * there are a thousand VMs: so what is the same for all of them is made once.
 */
struct sample {
	char head[128], tail[128];		/* up to the CID, and from there to the value */
	size_t head_len, tail_len;
	enum counters_unit unit;
};

enum { SAMPLES_MAX = 64 };			/* of a family */

struct samples {
	struct sample of[SAMPLES_MAX];
	unsigned index[SAMPLES_MAX];		/* of the family's numbers; not of a histogram */
	size_t n;
};

/* @what: of a histogram's, "_bucket"; else "". @labels: behind that of the VM. */
static void add_sample(struct samples *all, const struct counters_family *f, const char *what,
		       const char *labels, enum counters_unit unit)
{
	struct sample *s = &all->of[all->n++];

	assert(all->n <= SAMPLES_MAX);
	s->head_len = (size_t)snprintf(s->head, sizeof s->head, PREFIX "%s%s%s%s{vm=\"", f->name,
				       unit_str(f->unit),
				       f->kind == COUNTERS_COUNTER ? "_total" : "", what);
	s->tail_len = (size_t)snprintf(s->tail, sizeof s->tail, "\"%s} ", labels);
	assert(s->head_len < sizeof s->head && s->tail_len < sizeof s->tail);
	s->unit = unit;
}

/* False: the number @i of the family is none that is shown. */
static bool print_labels(char *out, size_t size, const struct counters_family *f, unsigned i)
{
	unsigned n = counters_label_size(f->labels[1]);
	const unsigned at[] = { i / n, i % n };
	size_t len = 0;

	*out = '\0';
	for (int k = 0; k < 2 && f->labels[k]; k++) {
		const char *value = counters_label_value(f->labels[k], at[k]);

		if (!value)
			return false;
		len += (size_t)snprintf(out + len, size - len, ",%s=\"%s\"",
					counters_label_name(f->labels[k]), value);
	}
	return true;
}

static void add_numbers(struct samples *all, const struct counters_family *f)
{
	for (unsigned i = 0; i < counters_family_size(f); i++) {
		char labels[96];

		if (!print_labels(labels, sizeof labels, f, i))
			continue;
		all->index[all->n] = i;
		add_sample(all, f, "", labels, f->unit);
	}
}

static void print_bound(char *out, size_t size, const struct counters_family *f, unsigned bucket)
{
	uint64_t bound = counters_bound(f, bucket);

	if (bound == UINT64_MAX)
		snprintf(out, size, ",le=\"+Inf\"");
	else if (f->unit == UNIT_US)
		snprintf(out, size, ",le=\"%" PRIu64 ".%06" PRIu64 "\"", bound / 1000000,
			 bound % 1000000);
	else
		snprintf(out, size, ",le=\"%" PRIu64 "\"", bound);
}

static void add_histogram(struct samples *all, const struct counters_family *f)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		char labels[64];

		print_bound(labels, sizeof labels, f, i);
		add_sample(all, f, "_bucket", labels, UNIT_ONE);
	}
	add_sample(all, f, "_sum", "", f->unit);
	add_sample(all, f, "_count", "", UNIT_ONE);
}

/* In the order of the samples. */
static void find_values(const struct samples *all, const struct counters_family *f,
			const struct vsock_counters *counters, uint64_t *values)
{
	const struct histogram *h = counters_histogram(counters, f);
	uint64_t n = 0;

	if (f->kind != COUNTERS_HISTOGRAM) {
		for (size_t i = 0; i < all->n; i++)
			values[i] = counters_values(counters, f)[all->index[i]];
		return;
	}
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		n += h->buckets[i];
		values[i] = n;
	}
	values[HISTOGRAM_BUCKETS] = h->sum;
	values[HISTOGRAM_BUCKETS + 1] = n;
}

static void put_sample(struct text *t, const struct sample *s, const char *cid, size_t cid_len,
		       uint64_t value)
{
	put_bytes(t, s->head, s->head_len);
	put_bytes(t, cid, cid_len);
	put_bytes(t, s->tail, s->tail_len);
	put_value(t, s->unit, value);
	put_bytes(t, "\n", 1);
}

static void put_family(struct text *t, const struct counters_family *f,
		       const struct snapshots_answer *answer)
{
	uint64_t values[SAMPLES_MAX];
	struct samples all = { .n = 0 };

	put_head(t, f);
	if (f->kind == COUNTERS_HISTOGRAM)
		add_histogram(&all, f);
	else
		add_numbers(&all, f);
	for (size_t i = 0; i < answer->n_vms; i++) {
		const struct device_snapshot *dev = &answer->vms[i].device;
		char cid[24];
		size_t len = (size_t)snprintf(cid, sizeof cid, "%" PRIu64, dev->cid);

		find_values(&all, f, &dev->counters, values);
		for (size_t k = 0; k < all.n; k++)
			put_sample(t, &all.of[k], cid, len, values[k]);
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
