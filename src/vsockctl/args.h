/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line: options, a command, its operands, in any order but that operands keep
 * theirs. What may stand where is a row in a table of commands.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct args;

enum {						/* options that a command takes, besides --help */
	OPTION_API = 1 << 0,
	OPTION_JSON = 1 << 1,
	OPTION_SEQPACKET = 1 << 2,
	OPTION_FDPASS = 1 << 3,
	OPTION_KEEP = 1 << 4,
	OPTION_TIMEOUT = 1 << 5,
	OPTION_MODE = 1 << 6,
	OPTION_CAPTURE = 1 << 7,		/* those of a capture */
};

struct command {
	const char *name;
	const char *operands;			/* as they are shown: "UDS PORT" */
	unsigned n_min, n_max;			/* of operands */
	unsigned options;			/* OPTION_* */
	int (*run)(const struct args *a);	/* enum exit_code */
	const char *help;			/* one line */
};

enum { ARGS_OPERANDS_MAX = 2, ARGS_PORTS_MAX = 64, ARGS_FILES_MAX = 16 };

struct args {
	const struct command *command;
	const char *operands[ARGS_OPERANDS_MAX];	/* NULL behind the last */
	const char *api;			/* NULL: not said */
	bool json, seqpacket, fdpass, keep;
	uint64_t timeout_ms;			/* UINT64_MAX: none */
	uint32_t mode;				/* of a socket; UINT32_MAX: not said */
	uint32_t ports[ARGS_PORTS_MAX];		/* to be captured; n_ports 0: all */
	unsigned n_ports;
	uint32_t snaplen;			/* 0: not said, as the two that follow */
	uint64_t size;				/* bytes of a file, before the next is used */
	unsigned files;
	bool has_help, has_version;		/* to be printed, instead of all else */
};

enum { ARGS_ERROR_MAX = 256 };

/* Borrows from @argv, prints nothing; the last of @commands has no name. 0; or -1 and in @error
 * why not, for people. */
int args_parse(struct args *a, const struct command *commands, int argc, char **argv,
	       char error[ARGS_ERROR_MAX]);

#define ARGS_API_DEFAULT	"/run/vhost-device-vsock/api.sock"

/* Where the API is: --api, or VSOCKCTL_API (if it is not empty), or the default. @was_said, or
 * NULL: it is not the default. */
const char *args_api(const struct args *a, bool *was_said);

/* A number in decimal, without sign, no larger than @max. */
bool args_number(const char *text, uint64_t max, uint64_t *out);

void args_put_help(FILE *f, const struct command *commands);
