/* SPDX-License-Identifier: BSD-3-Clause */
/* The handlers of a session, for the table of requests. */
#pragma once

#include "vhost/request.h"

request_handler
	session_get_features,
	session_set_features,
	session_set_owner,
	session_reset_owner,
	session_set_mem_table,
	session_set_vring_num,
	session_set_vring_addr,
	session_set_vring_base,
	session_get_vring_base,
	session_set_vring_kick,
	session_set_vring_call,
	session_set_vring_err,
	session_get_protocol_features,
	session_set_protocol_features,
	session_get_queue_num,
	session_set_vring_enable,
	session_get_config,
	session_set_config,
	session_reset_device,
	session_get_max_mem_slots,
	session_add_mem_reg,
	session_rem_mem_reg;
