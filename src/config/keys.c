/* SPDX-License-Identifier: BSD-3-Clause */
/* The keys of one VM and what their values may be. */
#include "config/keys.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/error.h"
#include "config/number.h"
#include "config/plan.h"

/*
 * Room for one more in an array of @n, NULL without memory. It is moved only
 * when @n is a power of two, so the array needs no capacity beside it.
 */
static void *grow(void *array, size_t n, size_t size)
{
	if (n & (n - 1))
		return array;
	return reallocarray(array, n ? 2 * n : 1, size);
}

/* One thing with two names. */
static int set_socket(const struct setting *s, void *into, const char *value,
		      struct config_error *err)
{
	if (((struct vm_plan *)into)->socket)
		return config_fail(err, "socket and socket-path are the same: give one");
	return setting_set_path(s, into, value, err);
}

static int add_host_cid(const struct setting *s, void *into, const char *value,
			struct config_error *err)
{
	struct vm_plan *vm = into;
	uint64_t cid, *cids;
	int r = number_parse(&cid, value, s->min, s->max, err);

	if (r)
		return r;
	cids = grow(vm->host_cids, vm->n_host_cids, sizeof *vm->host_cids);
	if (!cids)
		return -ENOMEM;
	vm->host_cids = cids;
	vm->host_cids[vm->n_host_cids++] = cid;
	return 0;
}

static int set_forward_cid(const struct setting *s, void *into, const char *value,
			   struct config_error *err)
{
	int r = setting_set_u32(s, into, value, err);

	if (r == 0)
		((struct vm_plan *)into)->has_forward_cid = true;
	return r;
}

static int append_port(uint32_t **ports, size_t *n, uint64_t port)
{
	uint32_t *grown = grow(*ports, *n, sizeof **ports);

	if (!grown)
		return -ENOMEM;
	*ports = grown;
	grown[(*n)++] = (uint32_t)port;
	return 0;
}

/* "9001", of SOCK_STREAM, or "seqpacket:9002". */
static int add_forward_listen(const struct setting *s, void *into, const char *value,
			      struct config_error *err)
{
	static const char prefix[] = "seqpacket:";
	struct vm_plan *vm = into;
	bool is_seqpacket = strncmp(value, prefix, sizeof prefix - 1) == 0;
	uint32_t **ports = is_seqpacket ? &vm->forward_listen_seqpacket : &vm->forward_listen;
	size_t *n = is_seqpacket ? &vm->n_forward_listen_seqpacket : &vm->n_forward_listen;
	uint64_t port;
	int r = number_parse(&port, value + (is_seqpacket ? sizeof prefix - 1 : 0), s->min, s->max,
			     err);

	return r ? r : append_port(ports, n, port);
}

static int set_queue_size(const struct setting *s, void *into, const char *value,
			  struct config_error *err)
{
	uint64_t size;
	int r = number_parse(&size, value, s->min, s->max, err);

	if (r)
		return r;
	if (size & (size - 1))
		return config_fail(err, SHOWN " is not a power of two", value);
	*(uint32_t *)setting_field(s, into) = (uint32_t)size;
	return 0;
}

static int add_group(const struct setting *s, void *into, const char *value,
		     struct config_error *err)
{
	struct vm_plan *vm = into;
	char **groups = grow(vm->groups, vm->n_groups, sizeof *vm->groups);

	(void)s, (void)err;
	if (!groups)
		return -ENOMEM;
	vm->groups = groups;
	vm->groups[vm->n_groups] = strdup(value);
	if (!vm->groups[vm->n_groups])
		return -ENOMEM;
	vm->n_groups++;
	return 0;
}

static int add_capture_port(const struct setting *s, void *into, const char *value,
			    struct config_error *err)
{
	struct capture_plan *capture = &((struct vm_plan *)into)->capture;
	uint64_t port;
	int r = number_parse(&port, value, s->min, s->max, err);

	if (r)
		return r;
	if (capture->n_ports == PLAN_CAPTURE_PORTS_MAX)
		return config_fail(err, "more than %d ports", PLAN_CAPTURE_PORTS_MAX);
	return append_port(&capture->ports, &capture->n_ports, port);
}

/* CIDs 0 to 2 are the hypervisor, the loopback and the host; 0xffffffff means any, as it
 * does of a port; and the guest's driver knows only the low 32 bits. */
enum { GUEST_CID_MIN = 3 };
#define GUEST_CID_MAX	(UINT32_MAX - 1)
#define PORT_MAX	(UINT32_MAX - 1)

/*
 * A new key is one row here, and the field that it fills in the place that uses it; see
 * setting.h. One without help is printed among the options for all VMs, as one of them
 * has its name.
 */
const struct setting vm_keys[] = {
	{ .name = "guest-cid", .value = "CID", SETTING_U64(struct vm_plan, guest_cid),
	  .min = GUEST_CID_MIN, .max = GUEST_CID_MAX, .default_value = "3",
	  .help = "CID of the guest, {min} to {max}" },

	{ .name = "socket", .value = "PATH",
	  .set = set_socket, .at = SETTING_AT(char *, struct vm_plan, socket),
	  .help = "unix socket to create for the VMM (vhost-user)" },

	{ .name = "socket-path", .value = "PATH",
	  .set = set_socket, .at = SETTING_AT(char *, struct vm_plan, socket),
	  .help = "the same, as QEMU calls it" },

	{ .name = "socket-connect", .value = "PATH",
	  SETTING_PATH(struct vm_plan, connect),
	  .help = "instead of --socket: unix socket that the VMM creates; connects to it, and "
		  "again when it is gone" },

	{ .name = "fd", .value = "N", SETTING_FD(struct vm_plan, vhost_socket.fd),
	  .help = "instead of --socket: a unix socket that was passed to this process as "
		  "descriptor N, listening or connected" },

	{ .name = "uds-path", .value = "PATH",
	  SETTING_PATH(struct vm_plan, uds_path),
	  .help = "unix socket to create for host programs, which send \"CONNECT port\"; the "
		  "guest's connects to a port go to the unix socket PATH_port" },

	{ .name = "host-cid", .kind = SETTING_LIST, .value = "CID",
	  .set = add_host_cid, .max = GUEST_CID_MAX,
	  .help = "the unix sockets answer for these CIDs too, besides 2, the host (with "
		  "--uds-path)" },

	{ .name = "forward-cid", .value = "CID",
	  .set = set_forward_cid, .at = SETTING_AT(uint32_t, struct vm_plan, forward_cid),
	  .max = UINT32_MAX,
	  .help = "instead of --uds-path: the guest's connects go to this CID by AF_VSOCK" },

	{ .name = "forward-listen", .kind = SETTING_LIST, .value = "PORT",
	  .set = add_forward_listen, .max = PORT_MAX,
	  .help = "AF_VSOCK ports by which host programs reach the guest (with --forward-cid); "
		  "\"seqpacket:PORT\": with SOCK_SEQPACKET" },

	{ .name = "forward-listen-any", .kind = SETTING_FLAG,
	  SETTING_BOOL(struct vm_plan, forward_listen_any),
	  .help = "take them from any CID, not only from that of --forward-cid and from this "
		  "machine itself" },

	/* Even one byte of credit works, slowly. Past 2^31 the 32-bit counters of the protocol
	 * could no longer tell ahead from behind. */
	{ .name = "tx-buffer-size", .value = "BYTES",
	  SETTING_U32(struct vm_plan, limits.tx_buffer_size),
	  .min = 1, .max = UINT64_C(1) << 31, .default_value = "262144",
	  .help = "how much a connection of the guest may send ahead of its receiver, {min} to "
		  "{max}" },

	{ .name = "queue-size", .value = "N",	/* virtio 1.2, 2.7 */
	  .set = set_queue_size, .at = SETTING_AT(uint32_t, struct vm_plan, queue_size),
	  .min = 1, .max = 32768, .default_value = "1024",
	  .help = "largest ring a VMM may set up, a power of two up to {max}" },

	/* Each takes a descriptor, of which the kernel gives a process a million or so. */
	{ .name = "max-connections", .value = "N",
	  SETTING_U32(struct vm_plan, limits.max_connections),
	  .min = 1, .max = 1 << 20, .default_value = "4096",
	  .help = "how many connections the guest may have at a time, {min} to {max}" },

	{ .name = "max-buffered", .value = "BYTES",
	  SETTING_U64(struct vm_plan, limits.max_buffered),
	  .min = 1, .max = UINT64_C(1) << 40, .default_value = "268435456",
	  .help = "how much all connections of the guest together may have waiting for slow "
		  "receivers" },

	/* KVM's own limit for a guest that halts is 200. */
	{ .name = "poll-us", .value = "N", SETTING_U32(struct vm_plan, poll_us),
	  .max = 1000, .default_value = "0",
	  .help = "for quicker answers, at the cost of CPU: for how many microseconds at most its "
		  "thread polls for what comes next before it sleeps, {min} to {max}" },

	/* More than any address space has, so the maximum only guards the arithmetic. */
	{ .name = "max-memory", .value = "BYTES", SETTING_U64(struct vm_plan, max_memory),
	  .min = 1, .max = UINT64_C(1) << 56,
	  .default_text = "a fair share of the address space, up to 16 TiB",
	  .help = "how much memory of the guest may be mapped\n" },

	{ .name = "groups", .kind = SETTING_LIST, .value = "NAME", .set = add_group,
	  .default_text = "\"" PLAN_GROUP "\"",
	  .help = "guests that share a group reach each other\n" },

	{ .name = "capture", .value = "PATH", SETTING_TEXT(struct vm_plan, capture.path),
	  .help = "write the packets of the guest to this file, as pcap; or into a pipe that "
		  "somebody reads" },

	{ .name = "capture-port", .kind = SETTING_LIST, .value = "PORT",
	  .set = add_capture_port, .max = UINT32_MAX,
	  .help = "only those from or to these vsock ports" },

	{ .name = "capture-snaplen", .value = "BYTES",	/* the headers take 76 of them */
	  SETTING_U32(struct vm_plan, capture.snaplen),
	  .min = 76, .max = 262144, .default_value = "262144",
	  .help = "how much of a packet, headers included, {min} to {max}" },

	{ .name = "capture-size", .value = "BYTES", SETTING_U64(struct vm_plan, capture.max_bytes),
	  .max = UINT64_C(1) << 50, .default_value = "104857600",
	  .help = "size of a file, before the next one is emptied and used; 0: no bound" },

	{ .name = "capture-files", .value = "N", SETTING_U32(struct vm_plan, capture.n_files),
	  .min = 1, .max = 16, .default_value = "2",
	  .help = "how many files there are, PATH, PATH.1 and so on, up to {max}; with 1 the "
		  "capture ends when that is full" },

	{ .name = "socket-mode", SETTING_MODE(struct vm_plan, vhost_socket.mode) },
	{ .name = "socket-group", SETTING_TEXT(struct vm_plan, vhost_socket.group) },
	{ .name = "uds-mode", SETTING_MODE(struct vm_plan, uds_socket.mode) },
	{ .name = "uds-group", SETTING_TEXT(struct vm_plan, uds_socket.group) },
	{ .name = NULL },
};

static_assert(sizeof vm_keys / sizeof *vm_keys - 1 <= 32, "a set of them is an unsigned");

struct vm_plan *keys_add_vm(struct plan *plan, const char *origin)
{
	struct vm_plan *vm = plan_add_vm(plan, origin);

	for (const struct setting *key = vm_keys; vm && key->name; key++)
		setting_set_default(key, vm);
	return vm;
}

static bool is_same_key(const char *name, const char *key)
{
	for (; *key && (*name == *key || (*name == '_' && *key == '-')); name++)
		key++;
	return *name == *key;
}

const struct setting *keys_find(const char *name)
{
	for (const struct setting *key = vm_keys; key->name; key++) {
		if (is_same_key(name, key->name))
			return key;
	}
	return NULL;
}

int keys_claim(const struct setting *key, unsigned *given, struct config_error *err)
{
	unsigned bit = 1u << (key - vm_keys);

	if (*given & bit)
		return config_fail(err, "given twice");
	*given |= bit;
	return 0;
}

char *keys_trim(char *text)
{
	static const char blanks[] = " \t\r\n\v\f";
	size_t len;

	text += strspn(text, blanks);
	for (len = strlen(text); len > 0 && strchr(blanks, text[len - 1]); len--)
		;
	text[len] = '\0';
	return text;
}

static int add_items(const struct setting *key, struct vm_plan *vm, char *items,
		     struct config_error *err)
{
	int r = 0;

	for (char *item; r == 0 && (item = strsep(&items, "+")); ) {
		if (!*item)
			r = config_fail(err, "empty item in the list");
		else
			r = key->set(key, vm, item, err);
	}
	return r;
}

int keys_set(const struct setting *key, struct vm_plan *vm, const char *value,
	     struct config_error *err)
{
	char *copy;
	int r;

	if (!*value)
		return config_fail(err, "empty value");
	if (key->kind != SETTING_LIST)
		return key->set(key, vm, value, err);

	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	r = add_items(key, vm, keys_trim(copy), err);
	free(copy);
	return r;
}
