/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user protocol (QEMU, docs/interop/vhost-user.rst): message header,
 * payloads, request numbers and feature bits. Everything is in host byte order.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES,
	VHOST_USER_SET_OWNER,
	VHOST_USER_RESET_OWNER,
	VHOST_USER_SET_MEM_TABLE,
	VHOST_USER_SET_LOG_BASE,
	VHOST_USER_SET_LOG_FD,
	VHOST_USER_SET_VRING_NUM,
	VHOST_USER_SET_VRING_ADDR,
	VHOST_USER_SET_VRING_BASE,
	VHOST_USER_GET_VRING_BASE,
	VHOST_USER_SET_VRING_KICK,
	VHOST_USER_SET_VRING_CALL,
	VHOST_USER_SET_VRING_ERR,
	VHOST_USER_GET_PROTOCOL_FEATURES,
	VHOST_USER_SET_PROTOCOL_FEATURES,
	VHOST_USER_GET_QUEUE_NUM,
	VHOST_USER_SET_VRING_ENABLE,
	VHOST_USER_SEND_RARP,
	VHOST_USER_NET_SET_MTU,
	VHOST_USER_SET_BACKEND_REQ_FD,
	VHOST_USER_IOTLB_MSG,
	VHOST_USER_SET_VRING_ENDIAN,
	VHOST_USER_GET_CONFIG,
	VHOST_USER_SET_CONFIG,
	VHOST_USER_CREATE_CRYPTO_SESSION,
	VHOST_USER_CLOSE_CRYPTO_SESSION,
	VHOST_USER_POSTCOPY_ADVISE,
	VHOST_USER_POSTCOPY_LISTEN,
	VHOST_USER_POSTCOPY_END,
	VHOST_USER_GET_INFLIGHT_FD,
	VHOST_USER_SET_INFLIGHT_FD,
	VHOST_USER_GPU_SET_SOCKET,
	VHOST_USER_RESET_DEVICE,
	VHOST_USER_VRING_KICK,
	VHOST_USER_GET_MAX_MEM_SLOTS,
	VHOST_USER_ADD_MEM_REG,
	VHOST_USER_REM_MEM_REG,
	VHOST_USER_SET_STATUS,
	VHOST_USER_GET_STATUS,
	VHOST_USER_GET_SHARED_OBJECT,
	VHOST_USER_SET_DEVICE_STATE_FD,
	VHOST_USER_CHECK_DEVICE_STATE,
	VHOST_USER_GET_SHMEM_CONFIG,
	VHOST_USER_REQUEST_END,			/* one past the last */
};

enum {						/* device feature bit */
	VHOST_USER_F_PROTOCOL_FEATURES = 30,
};

enum {						/* protocol feature bits */
	VHOST_USER_PROTOCOL_F_MQ = 0,
	VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
	VHOST_USER_PROTOCOL_F_RARP = 2,
	VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_USER_PROTOCOL_F_MTU = 4,
	VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
	VHOST_USER_PROTOCOL_F_CROSS_ENDIAN = 6,
	VHOST_USER_PROTOCOL_F_CRYPTO_SESSION = 7,
	VHOST_USER_PROTOCOL_F_PAGEFAULT = 8,
	VHOST_USER_PROTOCOL_F_CONFIG = 9,
	VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 10,
	VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = 11,
	VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
	VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = 14,
	VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHOST_USER_PROTOCOL_F_STATUS = 16,
	VHOST_USER_PROTOCOL_F_XEN_MMAP = 17,
	VHOST_USER_PROTOCOL_F_SHARED_OBJECT = 18,
	VHOST_USER_PROTOCOL_F_DEVICE_STATE = 19,
};

enum {						/* header flags */
	VHOST_USER_VERSION_MASK = 0x3,
	VHOST_USER_VERSION = 0x1,
	VHOST_USER_F_REPLY = 0x4,
	VHOST_USER_F_NEED_REPLY = 0x8,
};

enum {						/* SET_VRING_KICK/CALL/ERR payload */
	VHOST_USER_VRING_IDX_MASK = 0xff,
	VHOST_USER_VRING_NOFD = 0x100,
};

enum { VHOST_VRING_F_LOG = 0 };			/* bit of vhost_user_vring_addr.flags */

enum {
	VHOST_USER_MEM_TABLE_REGIONS = 32,	/* in one SET_MEM_TABLE: as rust-vmm, the spec has 8 */
	VHOST_USER_MEM_SLOTS_MAX = 509,		/* ... with ADD_MEM_REG: as vhost-kernel and QEMU */
};

struct vhost_user_hdr {
	uint32_t request, flags, size;		/* size: bytes of payload that follow */
};
static_assert(sizeof(struct vhost_user_hdr) == 12, "fixed by the spec");

struct vhost_user_vring_state {
	uint32_t index, num;
};
static_assert(sizeof(struct vhost_user_vring_state) == 8, "fixed by the spec");

struct vhost_user_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail;		/* front-end user addresses */
	uint64_t log;				/* guest-physical, of the used ring */
};
static_assert(sizeof(struct vhost_user_vring_addr) == 40, "fixed by the spec");

struct vhost_user_mem_region {
	uint64_t gpa, size, uaddr, mmap_offset;	/* bytes */
};
static_assert(sizeof(struct vhost_user_mem_region) == 32, "fixed by the spec");

struct vhost_user_mem_table {			/* on the wire: num_regions of regions[] */
	uint32_t num_regions, padding;
	struct vhost_user_mem_region regions[VHOST_USER_MEM_TABLE_REGIONS];
};
static_assert(offsetof(struct vhost_user_mem_table, regions) == 8, "fixed by the spec");

struct vhost_user_single_region {
	uint64_t padding;
	struct vhost_user_mem_region region;
};
static_assert(sizeof(struct vhost_user_single_region) == 40, "fixed by the spec");

struct vhost_user_config {
	uint32_t offset, size, flags;		/* size: bytes of data that follow */
};
static_assert(sizeof(struct vhost_user_config) == 12, "fixed by the spec");
