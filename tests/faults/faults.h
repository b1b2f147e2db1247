/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the runner and the daemon under faults share. The daemon is linked from
 * the same libraries as the real one, but some of its calls go through
 * wrap.c (ld's --wrap): so only its own calls are counted, not those within
 * libc, and the sanitizers' wrappers stay where they are.
 *
 * Which call fails is told by the environment; what was seen stands in a file
 * that both map.
 */
#pragma once

#include <stdatomic.h>

/* Names of calls for FAULTS_CALL; "memory" is malloc and its kin. */
#define FAULTS_CALL	"FAULTS_CALL"
#define FAULTS_ERRNO	"FAULTS_ERRNO"
#define FAULTS_NTH	"FAULTS_NTH"		/* from 1; 0: none fails */
#define FAULTS_REPORT	"FAULTS_REPORT"		/* path of a struct faults_report */

struct faults_report {
	atomic_uint calls;			/* of FAULTS_CALL, so far */
	atomic_uint injected;
	atomic_int blocks;			/* of memory, taken and not given back */
};
