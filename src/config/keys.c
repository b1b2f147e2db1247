/* SPDX-License-Identifier: BSD-3-Clause */
/* The keys of one VM and what their values may be. */
#include "config/keys.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config/error.h"
#include "config/number.h"
#include "config/plan.h"

/*
 * CIDs 0 to 2 are the hypervisor, the loopback and the host; 0xffffffff means
 * any, and the guest's driver knows only the low 32 bits.
 */
static const uint64_t guest_cid_min = 3, guest_cid_max = UINT32_MAX - 1;

/*
 * The guest sends as much as it has credit, so even one byte works, slowly. Past
 * 2^31 the 32-bit counters of the protocol could no longer tell ahead from behind.
 */
static const uint64_t tx_buffer_size_min = 1, tx_buffer_size_max = UINT64_C(1) << 31;

static const uint64_t queue_size_max = 32768;	/* virtio 1.2, 2.7 */

/* Each takes a descriptor, of which the kernel gives a process a million or so. */
static const uint64_t max_connections_max = 1 << 20;

/* More than any address space has, so it is only a guard of the arithmetic. */
static const uint64_t max_memory_max = UINT64_C(1) << 56;

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

static int set_guest_cid(struct vm_plan *vm, const char *value, struct config_error *err)
{
	return number_parse(&vm->guest_cid, value, guest_cid_min, guest_cid_max, err);
}

/*
 * Only the path itself has to fit. A uds-path so long that "_<port>" does not
 * fit behind it still serves host programs; the guest's connects to such a port
 * fail (limits_port_digits() tells which).
 */
static int set_path(char **path, const char *value, struct config_error *err)
{
	size_t max = sizeof ((struct sockaddr_un *)0)->sun_path - 1;

	if (strlen(value) > max)
		return config_fail(err, SHOWN_PATH " has %zu bytes; the path of a socket "
				   "has at most %zu", value, strlen(value), max);
	*path = strdup(value);
	return *path ? 0 : -ENOMEM;
}

static int set_socket(struct vm_plan *vm, const char *value, struct config_error *err)
{
	return set_path(&vm->socket, value, err);
}

static int set_uds_path(struct vm_plan *vm, const char *value, struct config_error *err)
{
	return set_path(&vm->uds_path, value, err);
}

static int add_host_cid(struct vm_plan *vm, const char *value, struct config_error *err)
{
	uint64_t cid, *cids;
	int r = number_parse(&cid, value, 0, guest_cid_max, err);

	if (r)
		return r;
	cids = grow(vm->host_cids, vm->n_host_cids, sizeof *vm->host_cids);
	if (!cids)
		return -ENOMEM;
	vm->host_cids = cids;
	vm->host_cids[vm->n_host_cids++] = cid;
	return 0;
}

static int set_forward_cid(struct vm_plan *vm, const char *value, struct config_error *err)
{
	uint64_t cid;
	int r = number_parse(&cid, value, 0, UINT32_MAX, err);

	if (r)
		return r;
	vm->forward_cid = (uint32_t)cid;
	vm->has_forward_cid = true;
	return 0;
}

/* Port 0xffffffff means any. */
static int add_forward_listen(struct vm_plan *vm, const char *value, struct config_error *err)
{
	uint64_t port;
	void *ports;
	int r = number_parse(&port, value, 0, UINT32_MAX - 1, err);

	if (r)
		return r;
	ports = grow(vm->forward_listen, vm->n_forward_listen, sizeof *vm->forward_listen);
	if (!ports)
		return -ENOMEM;
	vm->forward_listen = ports;
	vm->forward_listen[vm->n_forward_listen++] = (uint32_t)port;
	return 0;
}

static int set_forward_listen_any(struct vm_plan *vm, const char *value, struct config_error *err)
{
	if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
		return config_fail(err, SHOWN " is neither true nor false", value);
	vm->forward_listen_any = strcmp(value, "true") == 0;
	return 0;
}

static int set_tx_buffer_size(struct vm_plan *vm, const char *value, struct config_error *err)
{
	uint64_t size;
	int r = number_parse(&size, value, tx_buffer_size_min, tx_buffer_size_max, err);

	if (r == 0)
		vm->limits.tx_buffer_size = (uint32_t)size;
	return r;
}

static int set_queue_size(struct vm_plan *vm, const char *value, struct config_error *err)
{
	uint64_t size;
	int r = number_parse(&size, value, 1, queue_size_max, err);

	if (r)
		return r;
	if (size & (size - 1))
		return config_fail(err, SHOWN " is not a power of two", value);
	vm->queue_size = (uint32_t)size;
	return 0;
}

static int set_max_connections(struct vm_plan *vm, const char *value, struct config_error *err)
{
	uint64_t n;
	int r = number_parse(&n, value, 1, max_connections_max, err);

	if (r == 0)
		vm->limits.max_connections = (uint32_t)n;
	return r;
}

static int set_max_buffered(struct vm_plan *vm, const char *value, struct config_error *err)
{
	return number_parse(&vm->limits.max_buffered, value, 1, UINT64_C(1) << 40, err);
}

static int set_max_memory(struct vm_plan *vm, const char *value, struct config_error *err)
{
	return number_parse(&vm->max_memory, value, 1, max_memory_max, err);
}

static int add_group(struct vm_plan *vm, const char *value, struct config_error *err)
{
	char **groups = grow(vm->groups, vm->n_groups, sizeof *vm->groups);

	(void)err;
	if (!groups)
		return -ENOMEM;
	vm->groups = groups;
	vm->groups[vm->n_groups] = strdup(value);
	if (!vm->groups[vm->n_groups])
		return -ENOMEM;
	vm->n_groups++;
	return 0;
}

int keys_set_mode(struct socket_plan *socket, const char *value, struct config_error *err)
{
	uint32_t mode;
	int r = number_parse_mode(&mode, value, err);

	if (r == 0)
		socket->mode = (mode_t)mode;
	return r;
}

int keys_set_group(struct socket_plan *socket, const char *value)
{
	socket->group = strdup(value);
	return socket->group ? 0 : -ENOMEM;
}

static int set_socket_mode(struct vm_plan *vm, const char *value, struct config_error *err)
{
	return keys_set_mode(&vm->vhost_socket, value, err);
}

static int set_socket_group(struct vm_plan *vm, const char *value, struct config_error *err)
{
	(void)err;
	return keys_set_group(&vm->vhost_socket, value);
}

static int set_uds_mode(struct vm_plan *vm, const char *value, struct config_error *err)
{
	return keys_set_mode(&vm->uds_socket, value, err);
}

static int set_uds_group(struct vm_plan *vm, const char *value, struct config_error *err)
{
	(void)err;
	return keys_set_group(&vm->uds_socket, value);
}

const struct vm_key vm_keys[] = {
	{ "guest-cid",		KEY_VALUE,	set_guest_cid },
	{ "socket",		KEY_VALUE,	set_socket },
	{ "uds-path",		KEY_VALUE,	set_uds_path },
	{ "host-cid",		KEY_LIST,	add_host_cid },
	{ "forward-cid",	KEY_VALUE,	set_forward_cid },
	{ "forward-listen",	KEY_LIST,	add_forward_listen },
	{ "forward-listen-any",	KEY_FLAG,	set_forward_listen_any },
	{ "tx-buffer-size",	KEY_VALUE,	set_tx_buffer_size },
	{ "queue-size",		KEY_VALUE,	set_queue_size },
	{ "max-connections",	KEY_VALUE,	set_max_connections },
	{ "max-buffered",	KEY_VALUE,	set_max_buffered },
	{ "max-memory",		KEY_VALUE,	set_max_memory },
	{ "groups",		KEY_LIST,	add_group },
	{ "socket-mode",	KEY_VALUE,	set_socket_mode },
	{ "socket-group",	KEY_VALUE,	set_socket_group },
	{ "uds-mode",		KEY_VALUE,	set_uds_mode },
	{ "uds-group",		KEY_VALUE,	set_uds_group },
	{ NULL,			KEY_VALUE,	NULL },
};

static bool is_same_key(const char *name, const char *key)
{
	for (; *key && (*name == *key || (*name == '_' && *key == '-')); name++)
		key++;
	return *name == *key;
}

const struct vm_key *keys_find(const char *name)
{
	for (const struct vm_key *key = vm_keys; key->name; key++) {
		if (is_same_key(name, key->name))
			return key;
	}
	return NULL;
}

int keys_claim(const struct vm_key *key, unsigned *given, struct config_error *err)
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

static int add_items(const struct vm_key *key, struct vm_plan *vm, char *items,
		     struct config_error *err)
{
	int r = 0;

	for (char *item; r == 0 && (item = strsep(&items, "+")); ) {
		if (!*item)
			r = config_fail(err, "empty item in the list");
		else
			r = key->set(vm, item, err);
	}
	return r;
}

int keys_set(const struct vm_key *key, struct vm_plan *vm, const char *value,
	     struct config_error *err)
{
	char *copy;
	int r;

	if (!*value)
		return config_fail(err, "empty value");
	if (key->kind != KEY_LIST)
		return key->set(vm, value, err);

	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	r = add_items(key, vm, keys_trim(copy), err);
	free(copy);
	return r;
}
