/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots as JSON. */
#include "control/json.h"

#include <stdio.h>

#include "protocol/vhost_user.h"
#include "protocol/virtio_ring.h"

/* Each takes a reference over, and gives up both where something is missing. */
static json_t *set(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *append(json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) == 0)
		return array;
	json_decref(array);
	return NULL;
}

/* JSON's integers are signed here; a counter does not come so far. */
static json_t *number(uint64_t value)
{
	return json_integer(value <= INT64_MAX ? (json_int_t)value : INT64_MAX);
}

/* ---- counters ---- */

static json_t *of_histogram(const struct vsock_counters *counters,
			    const struct counters_family *f)
{
	const struct histogram *h = counters_histogram(counters, f);
	json_t *bounds = json_array(), *counts = json_array();
	uint64_t n = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (counters_bound(f, i) != UINT64_MAX)
			bounds = append(bounds, number(counters_bound(f, i)));
		counts = append(counts, number(h->buckets[i]));
		n += h->buckets[i];
	}
	return json_pack("{s:o, s:o, s:o, s:o}", "bounds", bounds, "counts", counts,
			 "count", number(n), "sum", number(h->sum));
}

/* Of the label's values those that can occur, from @values on. */
static json_t *of_label(const uint64_t *values, enum counters_label label)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < counters_label_size(label); i++) {
		const char *value = counters_label_value(label, i);

		if (value)
			object = set(object, value, number(values[i]));
	}
	return object;
}

static json_t *of_labels(const uint64_t *values, const struct counters_family *f)
{
	json_t *object = json_object();
	unsigned n = counters_label_size(f->labels[1]);

	for (unsigned i = 0; i < counters_label_size(f->labels[0]); i++)
		object = set(object, counters_label_value(f->labels[0], i),
			     of_label(values + i * n, f->labels[1]));
	return object;
}

static json_t *of_family(const struct vsock_counters *counters, const struct counters_family *f)
{
	const uint64_t *values = counters_values(counters, f);

	if (f->kind == COUNTERS_HISTOGRAM)
		return of_histogram(counters, f);
	if (f->labels[1])
		return of_labels(values, f);
	return f->labels[0] ? of_label(values, f->labels[0]) : number(values[0]);
}

json_t *json_of_counters(const struct vsock_counters *counters)
{
	json_t *object = json_object();

	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];
		char key[64];

		snprintf(key, sizeof key, "%s%s", f->name, counters_unit_str(f->unit));
		object = set(object, key, of_family(counters, f));
	}
	return object;
}

json_t *json_of_process(const struct process_snapshot *process)
{
	json_t *object = json_object();

	for (size_t i = 0; i < snapshots_num_families; i++)
		object = set(object, snapshots_families[i].name,
			     number(snapshots_process_value(process, &snapshots_families[i])));
	return object;
}

/* ---- VMs ---- */

struct feature {
	unsigned bit;
	const char *name;
};

#define FEATURE(name) { name, #name }

enum { VHOST_F_LOG_ALL = 26 };			/* the front-end follows our writes */

static const struct feature virtio_features[] = {
	FEATURE(VIRTIO_VSOCK_F_STREAM),
	FEATURE(VIRTIO_VSOCK_F_SEQPACKET),
	FEATURE(VIRTIO_VSOCK_F_NO_IMPLIED_STREAM),
	FEATURE(VIRTIO_F_NOTIFY_ON_EMPTY),
	FEATURE(VIRTIO_F_INDIRECT_DESC),
	FEATURE(VIRTIO_F_EVENT_IDX),
	FEATURE(VIRTIO_F_VERSION_1),
	FEATURE(VIRTIO_F_IN_ORDER),
	{ VHOST_F_LOG_ALL, "VHOST_F_LOG_ALL" },
	FEATURE(VHOST_USER_F_PROTOCOL_FEATURES),
	{ .name = NULL },
};

static const struct feature protocol_features[] = {
	FEATURE(VHOST_USER_PROTOCOL_F_MQ),
	FEATURE(VHOST_USER_PROTOCOL_F_LOG_SHMFD),
	FEATURE(VHOST_USER_PROTOCOL_F_RARP),
	FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK),
	FEATURE(VHOST_USER_PROTOCOL_F_MTU),
	FEATURE(VHOST_USER_PROTOCOL_F_BACKEND_REQ),
	FEATURE(VHOST_USER_PROTOCOL_F_CROSS_ENDIAN),
	FEATURE(VHOST_USER_PROTOCOL_F_CRYPTO_SESSION),
	FEATURE(VHOST_USER_PROTOCOL_F_PAGEFAULT),
	FEATURE(VHOST_USER_PROTOCOL_F_CONFIG),
	FEATURE(VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD),
	FEATURE(VHOST_USER_PROTOCOL_F_HOST_NOTIFIER),
	FEATURE(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD),
	FEATURE(VHOST_USER_PROTOCOL_F_RESET_DEVICE),
	FEATURE(VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS),
	FEATURE(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
	FEATURE(VHOST_USER_PROTOCOL_F_STATUS),
	FEATURE(VHOST_USER_PROTOCOL_F_XEN_MMAP),
	FEATURE(VHOST_USER_PROTOCOL_F_SHARED_OBJECT),
	FEATURE(VHOST_USER_PROTOCOL_F_DEVICE_STATE),
	{ .name = NULL },
};

/* By name; a bit without one is "bit N". */
static json_t *of_features(uint64_t features, const struct feature *known)
{
	json_t *array = json_array();

	for (unsigned bit = 0; bit < 64; bit++) {
		const struct feature *f = known;
		char text[16];

		if (!(features >> bit & 1))
			continue;
		while (f->name && f->bit != bit)
			f++;
		snprintf(text, sizeof text, "bit %u", bit);
		array = append(array, json_string(f->name ? f->name : text));
	}
	return array;
}

static json_t *of_ring(const struct ring_snapshot *ring, unsigned index)
{
	return json_pack("{s:s, s:b, s:b, s:b, s:s?, s:I, s:I, s:I, s:I, s:b}",
			 "name", counters_label_value(LABEL_RING, index),
			 "started", ring->is_started, "enabled", ring->is_enabled,
			 "running", ring->runs, "broken", ring->broken,
			 "size", (json_int_t)ring->size,
			 "avail_index", (json_int_t)ring->avail_index,
			 "next_avail", (json_int_t)ring->next_avail,
			 "used_index", (json_int_t)ring->used_index, "polled", ring->is_polled);
}

static json_t *of_rings(const struct device_snapshot *dev)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		array = append(array, of_ring(&dev->rings[i], i));
	return array;
}

static const char *front_end_str(enum front_end_state state)
{
	static const char *const text[] = {
		[FRONT_END_NONE] = "none", [FRONT_END_SILENT] = "silent",
		[FRONT_END_IN_SESSION] = "connected",
	};

	return text[state];
}

/* Null: it has none, or one whose bytes are no UTF-8. */
static json_t *of_path(const char *path)
{
	json_t *text = *path ? json_string(path) : NULL;

	return text ? text : json_null();
}

json_t *json_of_vm_row(const struct vm_snapshot *vm)
{
	const struct device_snapshot *dev = &vm->device;
	const struct vsock_counters *counters = &dev->counters;
	json_t *object = json_pack("{s:I, s:s, s:b, s:b, s:I, s:o, s:o, s:o, s:I}",
		"cid", (json_int_t)dev->cid, "front_end", front_end_str(dev->front_end),
		"guest_running", dev->is_guest_running,
		"memory_missing", dev->is_memory_missing,
		"connections", (json_int_t)dev->n_connections,
		"payload_bytes", of_label(counters->payload, LABEL_DIRECTION),
		"packets", of_label(counters->packets, LABEL_DIRECTION),
		"buffered_bytes", number(counters->buffered[0]),
		"worker", (json_int_t)vm->worker);

	return set(object, "uds_path", of_path(dev->uds_path));
}

static json_t *of_types(unsigned types)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < COUNTERS_TYPES; i++)
		if (types >> (i + VSOCK_TYPE_STREAM) & 1)
			array = append(array, json_string(counters_label_value(LABEL_TYPE, i)));
	return array;
}

json_t *json_of_vm(const struct vm_snapshot *vm)
{
	const struct device_snapshot *dev = &vm->device;
	json_t *object = json_of_vm_row(vm);

	object = set(object, "socket_types", of_types(dev->guest_types));
	object = set(object, "says_reset", json_boolean(dev->says_reset));
	object = set(object, "waiting_resets", number(dev->n_replies));
	object = set(object, "virtio_features", of_features(dev->virtio_features, virtio_features));
	object = set(object, "protocol_features",
		     of_features(dev->protocol_features, protocol_features));
	object = set(object, "rings", of_rings(dev));
	return set(object, "counters", json_of_counters(&dev->counters));
}

/* ---- connections ---- */

static const char *type_str(unsigned type)
{
	return counters_label_value(LABEL_TYPE, type - VSOCK_TYPE_STREAM);
}

static json_t *of_addr(const struct vsock_addr *addr)
{
	return json_pack("{s:I, s:I}", "cid", (json_int_t)addr->cid,
			 "port", (json_int_t)addr->port);
}

/* Both of a name and of a text for people; nothing where it waits for nothing. */
static json_t *of_wait(const struct conn_snapshot *c)
{
	return c->waits_for == CONN_WAITS_FOR_NOTHING ? json_null() :
		json_pack("{s:s, s:s, s:o}", "for", conn_wait_name(c->waits_for),
			  "text", conn_str_wait(c->waits_for), "since_ms", number(c->waits_ms));
}

static json_t *of_end(const struct conn_snapshot *c)
{
	return c->end == CONN_END_NONE ? json_null() :
		json_pack("{s:s, s:s}", "reason", counters_label_value(LABEL_END, c->end),
			  "text", conn_str_end(c->end));
}

json_t *json_of_conn(const struct conn_snapshot *c)
{
	char id[96];
	json_t *object;

	snprintf(id, sizeof id, "%s-%u-%llu-%u", type_str(c->type), c->guest.port,
		 (unsigned long long)c->peer.cid, c->peer.port);
	object = json_pack("{s:s, s:o, s:o, s:s, s:s, s:s, s:b}", "id", id,
			   "guest", of_addr(&c->guest), "peer", of_addr(&c->peer),
			   "type", type_str(c->type), "state", conn_str_state(c->state),
			   "origin", counters_label_value(LABEL_ORIGIN, c->origin),
			   "orphaned", c->is_orphaned);
	object = set(object, "age_ms", number(c->age_ms));
	object = set(object, "to_guest_bytes", number(c->to_guest));
	object = set(object, "to_host_bytes", number(c->to_host));
	object = set(object, "to_guest_credit", number(c->room_at_guest));
	object = set(object, "to_guest_window", number(c->guest_buf_alloc));
	object = set(object, "to_host_credit", number(c->room_for_guest));
	object = set(object, "to_host_window", number(c->buf_alloc));
	object = set(object, "unread_by_guest_bytes", number(c->unread_by_guest));
	object = set(object, "buffered_bytes", number(c->buffered));
	object = set(object, "waits", of_wait(c));
	return set(object, "end", of_end(c));
}

json_t *json_of_conns(const struct vm_snapshot *vm)
{
	json_t *array = json_array();

	for (size_t i = 0; i < vm->n_conns; i++)
		array = append(array, json_of_conn(&vm->conns[i]));
	return array;
}
