/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Landlock. All that is denied is named here with the ABI that brought it. A kernel denies
 * what it knows of; the rest is left to the other pieces.
 */
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "sandbox/sandbox_internal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/landlock.h"

#define BIT(n)	(UINT64_C(1) << (n))
enum {
	READ_FILE	= BIT(2),
	READ_DIR	= BIT(3),
	REMOVE_FILE	= BIT(5),
	RESOLVE_UNIX	= BIT(16),
};
enum { ABSTRACT_SOCKETS = BIT(0), SIGNALS = BIT(1) };	/* of wire_landlock::scoped */

static const struct {
	int abi;
	struct wire_landlock adds;
} rights_by_abi[] = {
	{ 1, { .fs = BIT(13) - 1 } },		/* execute, write, read, remove, make */
	{ 2, { .fs = BIT(13) } },		/* link and rename across folders */
	{ 3, { .fs = BIT(14) } },		/* truncate */
	{ 4, { .net = BIT(0) | BIT(1) } },	/* TCP: bind, connect */
	{ 5, { .fs = BIT(15) } },		/* ioctl of devices */
	{ 6, { .scoped = ABSTRACT_SOCKETS | SIGNALS } },
	{ 9, { .fs = RESOLVE_UNIX } },		/* connect to a named unix socket */
	{ 10, { .net = BIT(2) | BIT(3) } },	/* UDP: bind, connect and send */
};

static struct wire_landlock rights_of(int abi)
{
	struct wire_landlock all = { 0 };

	for (size_t i = 0; i < sizeof rights_by_abi / sizeof *rights_by_abi; i++) {
		if (rights_by_abi[i].abi > abi)
			break;
		all.fs |= rights_by_abi[i].adds.fs;
		all.net |= rights_by_abi[i].adds.net;
		all.scoped |= rights_by_abi[i].adds.scoped;
	}
	if (SANDBOX_HAS_SANITIZER)
		all.fs &= ~(uint64_t)(READ_FILE | READ_DIR);
	return all;
}

static int allow_folder(int ruleset, const char *path, uint64_t rights)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? error_last() : landlock_allow(ruleset, fd, rights);

	fd_close(&fd);
	return r;
}

int sandbox_enter_landlock(const struct sandbox_folders *folders, bool *is_scoped)
{
	struct wire_landlock handled;
	int abi = landlock_version(), ruleset, r;

	if (abi < 0)
		return abi;
	handled = rights_of(abi);
	if ((r = landlock_new(&handled, &ruleset)))
		return r;
	for (size_t i = 0; !r && i < folders->n; i++) {
		r = allow_folder(ruleset, folders->paths[i],
				 handled.fs & (RESOLVE_UNIX | (folders->has_names ? REMOVE_FILE : 0)));
		if (folders->may_lack)
			r = 0;
	}
	if (!r)
		r = landlock_enter(ruleset);
	*is_scoped = !r && handled.scoped & ABSTRACT_SOCKETS;
	fd_close(&ruleset);
	return r;
}
