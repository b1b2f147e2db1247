/* SPDX-License-Identifier: BSD-3-Clause */
/* For a build without libseccomp. */
#include "sandbox/sandbox_internal.h"
#include "util/error.h"

int sandbox_enter_seccomp(bool has_vsock, bool only_reports)
{
	(void)has_vsock;
	(void)only_reports;
	return -EOPNOTSUPP;
}
