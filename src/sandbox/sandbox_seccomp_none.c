/* SPDX-License-Identifier: BSD-3-Clause */
/* For a build without libseccomp. */
#include "sandbox/sandbox_internal.h"
#include "util/error.h"

int sandbox_enter_seccomp(const struct sandbox_config *config)
{
	(void)config;
	return -EOPNOTSUPP;
}
