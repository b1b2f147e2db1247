/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of a -errno. */
#include "util/error.h"

const char *error_str(int error)
{
	const char *text = NULL;

#ifdef HAVE_STRERRORDESC_NP
	text = strerrordesc_np(error < 0 ? -error : error);	/* no translation, no lock */
#else
	text = strerror(error < 0 ? -error : error);
#endif
	return text ? text : "unknown error";
}
