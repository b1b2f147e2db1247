/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file:
 *
 *   log-level: debug             # unless an option says it
 *   vms:
 *     - guest_cid: 3
 *       socket: /run/vm3.vhost
 *       uds_path: /run/vm3.vsock
 *       groups: a+b              # or [a, b]
 *
 * The document has a fixed depth and each level has its own reader, so depth
 * and loops of aliases are no topic. What aliases can do is repeat: a short file
 * could name one long value many times. The values taken are therefore counted.
 *
 * A key whose value is null (~) counts as not given, as in the Rust daemon; one
 * without any value is a mistake, since a template that lost its value must not
 * end in the default group.
 */
#pragma once

#include <stddef.h>

struct config_error;
struct plan;

enum {
	YAML_FILE_MAX = 1 << 20,		/* bytes */
	YAML_VALUES_MAX = 4 << 20,		/* bytes, aliases expanded */
};

/* Appends the VMs of the file, and sets what else it says. 0; CONFIG_E_USAGE; -errno (of reading
 * it). */
int yaml_load(const char *path, struct plan *plan, struct config_error *err);

/* The same from memory; @name stands for the file in complaints. */
int yaml_parse_plan(const char *text, size_t len, const char *name, struct plan *plan,
		    struct config_error *err);
