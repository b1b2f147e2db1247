/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be said about one VM, in one table: a key is the option --<key>, the
 * <key>= of --vm and the <key>: of the YAML file. (Modes and groups of sockets are
 * options for all VMs at once, and keys for one.) A value is checked here as far
 * as it can be by itself, where its own place can still be named; check.c does
 * the rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct config_error;
struct vm_plan;

struct vm_key {
	const char *name;			/* with '-', as an option has it */
	enum {
		KEY_VALUE,
		KEY_LIST,			/* "a+b": set() gets one at a time */
		KEY_FLAG,			/* as an option, alone it means "true" */
	} kind;
	int (*set)(struct vm_plan *vm, const char *value, struct config_error *err);
};

/* Every key of the table, and a NULL name at the end. */
extern const struct vm_key vm_keys[];

/* By name, in which '_' is as good as '-'; NULL if there is none. */
const struct vm_key *keys_find(const char *name);

/* Refuses a key that the set *@given has already, else adds it. */
int keys_claim(const struct vm_key *key, unsigned *given, struct config_error *err);

/* Takes one value, or all those of a list. On failure @vm may hold a part of it. */
int keys_set(const struct vm_key *key, struct vm_plan *vm, const char *value,
	     struct config_error *err);

/* Mode and group of a socket, of one VM or of all. The group is looked up later. */
struct socket_plan;
int keys_set_mode(struct socket_plan *socket, const char *value, struct config_error *err);
int keys_set_group(struct socket_plan *socket, const char *value);

/* Cuts ASCII blanks off both ends of @text, in place. */
char *keys_trim(char *text);
