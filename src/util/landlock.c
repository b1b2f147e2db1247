/* SPDX-License-Identifier: BSD-3-Clause */
/* Landlock, by its system calls. */
#include "util/landlock.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/error.h"

/* The same numbers on all architectures. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset	444
#define SYS_landlock_add_rule		445
#define SYS_landlock_restrict_self	446
#endif

enum { CREATE_RULESET_VERSION = 1, RULE_PATH_BENEATH = 1 };

struct wire_path_beneath {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

int landlock_version(void)
{
	int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);

	return version < 0 ? error_last() : version;
}

/* It is closed on exec. */
int landlock_new(const struct wire_landlock *denied, int *ruleset)
{
	int fd = (int)syscall(SYS_landlock_create_ruleset, denied, sizeof *denied, 0);

	if (fd < 0)
		return error_last();
	*ruleset = fd;
	return 0;
}

int landlock_allow(int ruleset, int folder, uint64_t rights)
{
	const struct wire_path_beneath rule = { .allowed = rights, .parent_fd = folder };

	return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0 ?
		error_last() : 0;
}

int landlock_enter(int ruleset)
{
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? error_last() : 0;
}
