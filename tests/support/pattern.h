/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes that depend on their position in the stream, so that a lost, doubled or
 * reordered piece shows wherever it is; streams of different seeds differ.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

void pattern_fill(void *to, size_t len, uint64_t offset, uint32_t seed);
/* @len when all bytes are right, else the index of the first wrong one. */
size_t pattern_check(const void *from, size_t len, uint64_t offset, uint32_t seed);
