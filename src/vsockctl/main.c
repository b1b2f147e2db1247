/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl: looks at a vhost-device-vsock, and talks to its guests. Exit status: exit.h.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "util/error.h"
#include "vsockctl/args.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/text.h"

/* What we open is not to be taken for one of the three streams. */
static bool open_streams(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return true;
}

/* What is still in stdio's buffer may fail to be written. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	text_complain("standard output: %s", error_str(error_last()));
	return status ? status : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	char error[ARGS_ERROR_MAX];
	struct args a;

	if (!open_streams())
		return EXIT_FAILED;
	if (args_parse(&a, command_rows, argc, argv, error) < 0) {
		text_complain("%s", error);
		return EXIT_USAGE;
	}
	if (a.has_help)
		args_put_help(stdout, command_rows);
	else if (a.has_version)
		puts("vsockctl " VERSION);
	else
		return finish(a.command->run(&a));
	return finish(EXIT_DONE);
}
