/* SPDX-License-Identifier: BSD-3-Clause */
/* What is counted of one VM: the table, the labels' values, and counters as bytes. */
#include "vsock/counters.h"

#include <assert.h>
#include <string.h>

#include "util/blob.h"

#define COUNTERS_TAG BLOB_TAG('C', 'N', 'T', 'R')

enum { COUNTERS_VERSION = 1 };

enum { NAME_MAX_BYTES = 64 };			/* of a family: more is not believed */

#define FAMILY(name_, kind_, unit_, label1, label2, help_)			\
	{ .name = #name_, .help = help_, .kind = kind_, .unit = unit_,		\
	  .labels = { label1, label2 }, .offset = offsetof(struct vsock_counters, name_) },

#define C0(name, help)		FAMILY(name, COUNTERS_COUNTER, UNIT_ONE, LABEL_NONE, LABEL_NONE, help)
#define C1(name, unit, label, n, help) \
	FAMILY(name, COUNTERS_COUNTER, unit, label, LABEL_NONE, help)
#define C2(name, label1, n1, label2, n2, help) \
	FAMILY(name, COUNTERS_COUNTER, UNIT_ONE, label1, label2, help)
#define G0(name, unit, help)	FAMILY(name, COUNTERS_GAUGE, unit, LABEL_NONE, LABEL_NONE, help)
#define G2(name, label1, n1, label2, n2, help) \
	FAMILY(name, COUNTERS_GAUGE, UNIT_ONE, label1, label2, help)
#define HP(name, help) \
	FAMILY(name, COUNTERS_HISTOGRAM, UNIT_PACKETS, LABEL_NONE, LABEL_NONE, help)
#define HT(name, help) \
	FAMILY(name, COUNTERS_HISTOGRAM, UNIT_US, LABEL_NONE, LABEL_NONE, help)

const struct counters_family counters_families[] = {
	COUNTERS(C0, C1, C2, G0, G2, HP, HT)
};
const size_t counters_num_families = sizeof counters_families / sizeof *counters_families;

/* ---- labels; what can be in none of them is NULL ---- */

static const char *const directions[COUNTERS_DIRECTIONS] = {
	[COUNTERS_TO_GUEST] = "to_guest", [COUNTERS_TO_HOST] = "to_host",
};

static const char *const origins[CONN_NUM_ORIGINS] = {
	[CONN_FROM_GUEST] = "guest", [CONN_FROM_HOST] = "host", [CONN_FROM_SIBLING] = "sibling",
};

static const char *const types[COUNTERS_TYPES] = {
	[COUNTERS_STREAM] = "stream", [COUNTERS_SEQPACKET] = "seqpacket",
};

static const char *const states[CONN_DEAD] = {
	[CONN_CONNECTING] = "connecting", [CONN_REQUESTED] = "requested", [CONN_OPEN] = "open",
	[CONN_LINGERING] = "lingering", [CONN_CLOSING] = "closing", [CONN_RESET] = "reset",
};

static const char *const ends[CONN_NUM_ENDS] = {
	[CONN_END_GUEST] = "guest", [CONN_END_HOST] = "host",
	[CONN_END_GUEST_RST] = "guest_reset", [CONN_END_HOST_RST] = "host_reset",
	[CONN_END_GUEST_GONE] = "guest_gone", [CONN_END_GUEST_STOPPED] = "guest_stopped",
	[CONN_END_MEMORY_LOST] = "memory_lost", [CONN_END_PROTOCOL] = "protocol",
	[CONN_END_CREDIT] = "credit", [CONN_END_NO_MEMORY] = "no_memory",
	[CONN_END_REFUSED] = "refused", [CONN_END_HOST_LEFT] = "host_left",
	[CONN_END_HOST_ERROR] = "host_error", [CONN_END_CONNECT_TIMEOUT] = "connect_timeout",
	[CONN_END_REQUEST_TIMEOUT] = "request_timeout",
	[CONN_END_LINGER_TIMEOUT] = "linger_timeout",
	[CONN_END_CLOSING_TIMEOUT] = "closing_timeout", [CONN_END_LOST] = "lost",
	[CONN_END_TOO_LONG] = "too_long", [CONN_END_TOO_LONG_FOR_HOST] = "too_long_for_host",
	[CONN_END_TOO_LONG_FOR_GUEST] = "too_long_for_guest",
	[CONN_END_OPERATOR] = "operator",
};

static const char *const refusals[COUNTERS_REFUSALS] = {
	[COUNTERS_REFUSED_BY_SYSTEM] = "system", [BACKEND_E_NO_ROUTE] = "no_route",
	[BACKEND_E_NO_GUEST] = "no_guest", [BACKEND_E_FULL] = "full",
	[BACKEND_E_NAME_TAKEN] = "name_taken", [BACKEND_E_NOBODY] = "nobody",
	[BACKEND_E_OTHER_TYPE] = "other_type", [BACKEND_E_DENIED] = "denied",
	[BACKEND_E_BUSY] = "busy", [BACKEND_E_TIMEOUT] = "timeout",
	[BACKEND_E_BAD_NAME] = "bad_name", [BACKEND_E_NO_TYPE] = "no_type",
};

static const char *const waits[CONN_NUM_WAITS] = {
	[CONN_WAITS_FOR_CONNECT] = "connect", [CONN_WAITS_FOR_ANSWER] = "guest_answer",
	[CONN_WAITS_FOR_CREDIT] = "guest_credit", [CONN_WAITS_FOR_READER] = "host_read",
};

static const char *const drops[NUM_DROPS] = {
	[DROP_SHORT] = "short", [DROP_BODY] = "body", [DROP_SOURCE] = "source",
	[DROP_STRAY] = "stray",
};

static const char *const handshakes[BACKEND_NUM_HANDSHAKES] = {
	[HANDSHAKE_DONE] = "done", [HANDSHAKE_NO_CONNECT] = "no_connect",
	[HANDSHAKE_TOO_LONG] = "too_long", [HANDSHAKE_CUT] = "cut", [HANDSHAKE_LATE] = "late",
	[HANDSHAKE_TOO_MANY] = "too_many", [HANDSHAKE_LEFT] = "left",
	[HANDSHAKE_ERROR] = "error",
};

static const char *const rings[VSOCK_NUM_QUEUES] = {
	[VSOCK_RXQ] = "rx", [VSOCK_TXQ] = "tx", [VSOCK_EVENTQ] = "event",
};

static const char *const polls[COUNTERS_POLLS] = {
	[POLL_PAID] = "paid", [POLL_WASTED] = "wasted",
};

#define VALUES(array) .values = array, .n = sizeof array / sizeof *array

static const struct {
	const char *name;
	const char *const *values;
	unsigned n;
} labels[NUM_LABELS] = {
	[LABEL_NONE] = { .n = 1 },
	[LABEL_DIRECTION] = { "direction", VALUES(directions) },
	[LABEL_ORIGIN] = { "origin", VALUES(origins) },
	[LABEL_TYPE] = { "type", VALUES(types) },
	[LABEL_STATE] = { "state", VALUES(states) },
	[LABEL_END] = { "reason", VALUES(ends) },
	[LABEL_REFUSAL] = { "reason", VALUES(refusals) },
	[LABEL_WAIT] = { "waits_for", VALUES(waits) },
	[LABEL_DROP] = { "reason", VALUES(drops) },
	[LABEL_HANDSHAKE] = { "outcome", VALUES(handshakes) },
	[LABEL_RING] = { "ring", VALUES(rings) },
	[LABEL_POLL] = { "outcome", VALUES(polls) },
};

const char *counters_label_name(enum counters_label label)
{
	return labels[label].name;
}

unsigned counters_label_size(enum counters_label label)
{
	return labels[label].n;
}

const char *counters_label_value(enum counters_label label, unsigned i)
{
	return labels[label].values[i];
}

const char *counters_unit_str(enum counters_unit unit)
{
	static const char *const text[] = {
		[UNIT_ONE] = "", [UNIT_BYTES] = "_bytes", [UNIT_MS] = "_ms", [UNIT_US] = "_us",
		[UNIT_PACKETS] = "_packets",
	};

	return text[unit];
}

unsigned counters_family_size(const struct counters_family *f)
{
	return labels[f->labels[0]].n * labels[f->labels[1]].n;
}

uint64_t counters_bound(const struct counters_family *f, unsigned bucket)
{
	unsigned shift = f->unit == UNIT_US ? HISTOGRAM_SHIFT_US : HISTOGRAM_SHIFT_PACKETS;

	return bucket < HISTOGRAM_BUCKETS - 1 ? UINT64_C(1) << bucket * shift : UINT64_MAX;
}

/* ---- as bytes ---- */

/* A family's numbers as they are stored: rows of columns, by its labels. A histogram is one row,
 * of its buckets and its sum. */
static unsigned count_rows(const struct counters_family *f)
{
	return f->labels[1] ? labels[f->labels[0]].n : 1;
}

static unsigned count_columns(const struct counters_family *f)
{
	static_assert(sizeof(struct histogram) == (HISTOGRAM_BUCKETS + 1) * sizeof(uint64_t),
		      "nothing but numbers");

	if (f->kind == COUNTERS_HISTOGRAM)
		return HISTOGRAM_BUCKETS + 1;
	return labels[f->labels[f->labels[1] != LABEL_NONE]].n;
}

static bool is_saved(const struct counters_family *f)
{
	return f->kind != COUNTERS_GAUGE;
}

static bool is_zero(const uint64_t *numbers, unsigned n)
{
	while (n && !numbers[n - 1])
		n--;
	return !n;
}

static const struct counters_family *find(const char *name, size_t len)
{
	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];

		if (is_saved(f) && strlen(f->name) == len && !memcmp(f->name, name, len))
			return f;
	}
	return NULL;
}

void counters_save(const struct vsock_counters *c, struct blob *out)
{
	size_t section = blob_open(out, COUNTERS_TAG, COUNTERS_VERSION);

	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];
		const uint64_t *numbers = counters_values(c, f);
		unsigned rows = count_rows(f), columns = count_columns(f);

		if (!is_saved(f) || is_zero(numbers, rows * columns))
			continue;
		blob_put_u8(out, (uint8_t)strlen(f->name));
		blob_put_bytes(out, f->name, strlen(f->name));
		blob_put_u16(out, (uint16_t)rows);
		blob_put_u16(out, (uint16_t)columns);
		for (unsigned k = 0; k < rows * columns; k++)
			blob_put_u64(out, numbers[k]);
	}
	blob_close(out, section);
}

/* Where a number belongs; NULL: nowhere. Labels get new values at their end, buckets none. */
static uint64_t *place_of(struct vsock_counters *c, const struct counters_family *f, unsigned row,
			  unsigned column, unsigned columns)
{
	if (!f || row >= count_rows(f) || column >= count_columns(f) ||
	    (f->kind == COUNTERS_HISTOGRAM && columns != count_columns(f)))
		return NULL;
	return (uint64_t *)((char *)c + f->offset) + row * count_columns(f) + column;
}

/* The next family. False: there is none, or not all of it. */
static bool load_family(struct vsock_counters *c, struct blob_reader *in)
{
	uint8_t len = blob_get_u8(in);
	const char *name = len <= NAME_MAX_BYTES ? blob_get_bytes(in, len) : NULL;
	unsigned rows = blob_get_u16(in), columns = blob_get_u16(in);
	const struct counters_family *f;

	if (!name || in->is_short ||
	    (size_t)rows * columns > (size_t)(in->end - in->at) / sizeof(uint64_t))
		return false;
	f = find(name, len);
	for (unsigned row = 0; row < rows; row++) {
		for (unsigned column = 0; column < columns; column++) {
			uint64_t number = blob_get_u64(in);
			uint64_t *place = place_of(c, f, row, column, columns);

			if (place)
				*place = number;
		}
	}
	return true;
}

bool counters_load(struct vsock_counters *c, struct blob_reader *in)
{
	struct vsock_counters loaded = { .payload = { 0 } };
	struct blob_reader section;
	uint32_t version;

	if (!blob_enter(in, &section, COUNTERS_TAG, COUNTERS_VERSION, &version))
		return false;
	while (blob_has_more(&section))
		if (!load_family(&loaded, &section))
			return false;
	if (!blob_is_whole(&section))
		return false;
	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];

		if (is_saved(f))
			memcpy((char *)c + f->offset, (const char *)&loaded + f->offset,
			       (size_t)count_rows(f) * count_columns(f) * sizeof(uint64_t));
	}
	return true;
}
