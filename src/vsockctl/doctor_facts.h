/* SPDX-License-Identifier: BSD-3-Clause */
/* The doctor's facts, as far as sockets, files and /proc tell them. */
#pragma once

#include "vsockctl/doctor.h"

/* Connects to @path: who listens there, or why nobody does. The connection goes to @fd (-1: there
 * is none), or is closed if that is NULL. */
void doctor_facts_connect(const char *path, uint64_t deadline_ms, struct doctor_socket *out,
			  int *fd);

/* The hybrid socket @path, and, with f->has_port, what the guest and the host say to f->port. */
void doctor_facts_hybrid(const char *path, uint64_t deadline_ms, struct doctor_facts *f);
