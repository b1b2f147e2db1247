/* SPDX-License-Identifier: BSD-3-Clause */
/* Why connects come to nothing. */
#include "vsock/backend.h"

#include "util/error.h"

const char *backend_str_error(int error)
{
	static const char *const text[] = {
		[BACKEND_E_PENDING] = "under way", [BACKEND_E_NO_ROUTE] = "nobody has that CID",
		[BACKEND_E_NO_GUEST] = "no guest is running",
		[BACKEND_E_FULL] = "as many connections as there may be",
		[BACKEND_E_NAME_TAKEN] = "the guest has a connection of that name",
		[BACKEND_E_NOBODY] = "nobody listens there",
		[BACKEND_E_OTHER_TYPE] = "a socket of another type listens there",
		[BACKEND_E_DENIED] = "permission denied",
		[BACKEND_E_BUSY] = "the program that listens there accepts nobody, its backlog is "
			"full",
		[BACKEND_E_TIMEOUT] = "no answer",
		[BACKEND_E_BAD_NAME] = "no socket has such a name",
		[BACKEND_E_NO_TYPE] = "the guest's driver knows no sockets of that type",
		[BACKEND_E_BAD_STATE] = "its saved state is not to be believed",
	};
	static_assert(sizeof text / sizeof *text == BACKEND_NUM_E, "each has a text");

	return error < 0 ? error_str(error) : text[error];
}
