/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be said about one VM, in one table: a key is the option --<key>, the
 * <key>= of --vm and the <key>: of the YAML file. (Modes and groups of sockets are
 * options for all VMs at once, and keys for one.) A value is checked here as far
 * as it can be by itself, where its own place can still be named; check.c does
 * the rest.
 *
 * A VM that is being read has a set of the keys that it was given, an unsigned.
 */
#pragma once

#include "config/setting.h"

struct plan;
struct vm_plan;

/* Every key, for a struct vm_plan, and a NULL name at the end. */
extern const struct setting vm_keys[];

/* As plan_add_vm(); it has its defaults. */
struct vm_plan *keys_add_vm(struct plan *plan, const char *origin);

/* By name, in which '_' is as good as '-'; NULL if there is none. */
const struct setting *keys_find(const char *name);

/* Refuses a key that the set *@given has already, else adds it. */
int keys_claim(const struct setting *key, unsigned *given, struct config_error *err);

/* Takes one value, or all those of a list. On failure @vm may hold a part of it. */
int keys_set(const struct setting *key, struct vm_plan *vm, const char *value,
	     struct config_error *err);

/* Cuts ASCII blanks off both ends of @text, in place. */
char *keys_trim(char *text);
