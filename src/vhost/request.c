/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of all requests. */
#include "vhost/request.h"

#include "vhost/session_requests.h"

#define U64	.size = 8
#define STATE	.size = sizeof(struct vhost_user_vring_state), .ring = RING_U32

static const struct request requests[VHOST_USER_REQUEST_END] = {
	[VHOST_USER_GET_FEATURES] = { .name = "GET_FEATURES",
		.handle = session_get_features, .has_reply = true },
	[VHOST_USER_SET_FEATURES] = { .name = "SET_FEATURES",
		.handle = session_set_features, U64 },
	[VHOST_USER_SET_OWNER] = { .name = "SET_OWNER", .handle = session_set_owner },
	[VHOST_USER_RESET_OWNER] = { .name = "RESET_OWNER", .handle = session_reset_owner },
	[VHOST_USER_SET_MEM_TABLE] = { .name = "SET_MEM_TABLE", .handle = session_set_mem_table,
		.size = offsetof(struct vhost_user_mem_table, regions),
		.size_max = sizeof(struct vhost_user_mem_table),
		.fds = FDS_TABLE },
	[VHOST_USER_SET_LOG_BASE] = { .name = "SET_LOG_BASE", .has_reply = true },
	[VHOST_USER_SET_LOG_FD] = { .name = "SET_LOG_FD" },
	[VHOST_USER_SET_VRING_NUM] = { .name = "SET_VRING_NUM",
		.handle = session_set_vring_num, STATE },
	[VHOST_USER_SET_VRING_ADDR] = { .name = "SET_VRING_ADDR",
		.handle = session_set_vring_addr,
		.size = sizeof(struct vhost_user_vring_addr), .ring = RING_U32 },
	[VHOST_USER_SET_VRING_BASE] = { .name = "SET_VRING_BASE",
		.handle = session_set_vring_base, STATE },
	[VHOST_USER_GET_VRING_BASE] = { .name = "GET_VRING_BASE",
		.handle = session_get_vring_base, .has_reply = true, STATE },
	[VHOST_USER_SET_VRING_KICK] = { .name = "SET_VRING_KICK",
		.handle = session_set_vring_kick, U64,
		.fds = FDS_VRING, .ring = RING_U64_LOW },
	[VHOST_USER_SET_VRING_CALL] = { .name = "SET_VRING_CALL",
		.handle = session_set_vring_call, U64,
		.fds = FDS_VRING, .ring = RING_U64_LOW },
	[VHOST_USER_SET_VRING_ERR] = { .name = "SET_VRING_ERR",
		.handle = session_set_vring_err, U64,
		.fds = FDS_VRING, .ring = RING_U64_LOW },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { .name = "GET_PROTOCOL_FEATURES",
		.handle = session_get_protocol_features, .has_reply = true },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { .name = "SET_PROTOCOL_FEATURES",
		.handle = session_set_protocol_features, U64 },
	[VHOST_USER_GET_QUEUE_NUM] = { .name = "GET_QUEUE_NUM",
		.handle = session_get_queue_num, .has_reply = true },
	[VHOST_USER_SET_VRING_ENABLE] = { .name = "SET_VRING_ENABLE",
		.handle = session_set_vring_enable, STATE },
	[VHOST_USER_SEND_RARP] = { .name = "SEND_RARP" },
	[VHOST_USER_NET_SET_MTU] = { .name = "NET_SET_MTU" },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { .name = "SET_BACKEND_REQ_FD" },
	[VHOST_USER_IOTLB_MSG] = { .name = "IOTLB_MSG" },
	[VHOST_USER_SET_VRING_ENDIAN] = { .name = "SET_VRING_ENDIAN" },
	[VHOST_USER_GET_CONFIG] = { .name = "GET_CONFIG",
		.handle = session_get_config, .has_reply = true,
		.size = sizeof(struct vhost_user_config), .size_max = VU_MSG_PAYLOAD_MAX },
	[VHOST_USER_SET_CONFIG] = { .name = "SET_CONFIG", .handle = session_set_config,
		.by_guest = true,
		.size = sizeof(struct vhost_user_config), .size_max = VU_MSG_PAYLOAD_MAX },
	[VHOST_USER_CREATE_CRYPTO_SESSION] = { .name = "CREATE_CRYPTO_SESSION", .has_reply = true },
	[VHOST_USER_CLOSE_CRYPTO_SESSION] = { .name = "CLOSE_CRYPTO_SESSION" },
	[VHOST_USER_POSTCOPY_ADVISE] = { .name = "POSTCOPY_ADVISE", .has_reply = true },
	[VHOST_USER_POSTCOPY_LISTEN] = { .name = "POSTCOPY_LISTEN" },
	[VHOST_USER_POSTCOPY_END] = { .name = "POSTCOPY_END", .has_reply = true },
	[VHOST_USER_GET_INFLIGHT_FD] = { .name = "GET_INFLIGHT_FD", .has_reply = true },
	[VHOST_USER_SET_INFLIGHT_FD] = { .name = "SET_INFLIGHT_FD" },
	[VHOST_USER_GPU_SET_SOCKET] = { .name = "GPU_SET_SOCKET" },
	[VHOST_USER_RESET_DEVICE] = { .name = "RESET_DEVICE", .handle = session_reset_device },
	[VHOST_USER_VRING_KICK] = { .name = "VRING_KICK" },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { .name = "GET_MAX_MEM_SLOTS",
		.handle = session_get_max_mem_slots, .has_reply = true },
	[VHOST_USER_ADD_MEM_REG] = { .name = "ADD_MEM_REG", .handle = session_add_mem_reg,
		.size = sizeof(struct vhost_user_single_region), .fds = FDS_ONE },
	[VHOST_USER_REM_MEM_REG] = { .name = "REM_MEM_REG", .handle = session_rem_mem_reg,
		.size = sizeof(struct vhost_user_single_region), .fds = FDS_UP_TO_ONE },
	[VHOST_USER_SET_STATUS] = { .name = "SET_STATUS" },
	[VHOST_USER_GET_STATUS] = { .name = "GET_STATUS", .has_reply = true },
	[VHOST_USER_GET_SHARED_OBJECT] = { .name = "GET_SHARED_OBJECT", .has_reply = true },
	[VHOST_USER_SET_DEVICE_STATE_FD] = { .name = "SET_DEVICE_STATE_FD", .has_reply = true },
	[VHOST_USER_CHECK_DEVICE_STATE] = { .name = "CHECK_DEVICE_STATE", .has_reply = true },
	[VHOST_USER_GET_SHMEM_CONFIG] = { .name = "GET_SHMEM_CONFIG", .has_reply = true },
};

const struct request *request_find(uint32_t number)
{
	if (number >= VHOST_USER_REQUEST_END || !requests[number].name)
		return NULL;
	return &requests[number];
}

const char *request_name(uint32_t number)
{
	const struct request *request = request_find(number);

	return request ? request->name : "unknown request";
}

bool request_has_reply(uint32_t number)
{
	const struct request *request = request_find(number);

	return request && request->has_reply;
}

bool request_is_by_guest(uint32_t number)
{
	const struct request *request = request_find(number);

	return request && request->by_guest;
}

/* A table has the bytes that its region count asks for, or more: some front-ends
 * append unused regions. */
static bool size_is_right(const struct request *request, const struct msg *msg)
{
	uint32_t size = msg->hdr.size;

	if (!request->size_max)
		return size == request->size;
	if (size < request->size || size > request->size_max)
		return false;
	if (msg->hdr.request == VHOST_USER_SET_MEM_TABLE)
		return (size - request->size) / sizeof(struct vhost_user_mem_region) >=
			msg->payload.table.num_regions;
	if (msg->hdr.request == VHOST_USER_SET_CONFIG)
		return size - request->size == msg->payload.config.size;
	return msg->payload.config.size <= VU_MSG_CONFIG_MAX;	/* GET_CONFIG */
}

static bool fds_are_right(const struct request *request, const struct msg *msg)
{
	switch (request->fds) {
	case FDS_NONE:
		return msg->n_fds == 0;
	case FDS_ONE:
		return msg->n_fds == 1;
	case FDS_UP_TO_ONE:
		return msg->n_fds <= 1;
	case FDS_VRING:
		return msg->n_fds == (msg->payload.u64 & VHOST_USER_VRING_NOFD ? 0 : 1);
	case FDS_TABLE:
		return msg->n_fds == msg->payload.table.num_regions;
	}
	return false;
}

static bool ring_is_right(const struct request *request, const struct msg *msg, unsigned n_rings)
{
	switch (request->ring) {
	case RING_NONE:
		return true;
	case RING_U32:
		return msg->payload.state.index < n_rings;
	case RING_U64_LOW:
		return (msg->payload.u64 & VHOST_USER_VRING_IDX_MASK) < n_rings;
	}
	return false;
}

int request_check(const struct msg *msg, unsigned n_rings)
{
	const struct request *request = request_find(msg->hdr.request);

	if (!request || !request->handle)
		return REQUEST_E_UNKNOWN;
	if (!size_is_right(request, msg))
		return REQUEST_E_SIZE;
	if (!fds_are_right(request, msg))
		return REQUEST_E_FDS;
	if (!ring_is_right(request, msg, n_rings))
		return REQUEST_E_RING;
	return 0;
}

const char *request_str_error(int error)
{
	static const char *const text[] = {
		[REQUEST_E_UNKNOWN] = "not supported", [REQUEST_E_SIZE] = "wrong size",
		[REQUEST_E_FDS] = "wrong number of file descriptors",
		[REQUEST_E_RING] = "no such ring",
	};

	return text[error];
}
