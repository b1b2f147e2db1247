/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM's vsock device: taken over by another process. */
#include "device/device_internal.h"
#include "util/error.h"
#include "util/log_limit.h"

void device_save(const struct device *dev, struct blob *out)
{
	size_t section = blob_open(out, BLOB_TAG('D', 'E', 'V', ' '), 1);

	mux_save(dev->mux, out);
	for (size_t i = 0; i < dev->n_backends; i++)
		if (dev->backends[i]->ops->save)
			dev->backends[i]->ops->save(dev->backends[i], out);
	blob_close(out, section);
}

void device_accepted(struct device *dev, int outcome, int fd)
{
	recovery_accepted(&dev->recovery, outcome, fd);
}

/* What it has not got, or not whole, is not current. */
void device_load_ahead(struct device *dev)
{
	recovery_load(&dev->recovery);
}

bool device_is_current(const struct device *dev)
{
	return recovery_is_current(&dev->recovery);
}

static int load_backends(struct device *dev, struct blob_reader *in)
{
	int r = 0;

	for (size_t i = 0; !r && i < dev->n_backends; i++)
		if (dev->backends[i]->ops->load)
			r = dev->backends[i]->ops->load(dev->backends[i], in);
	return r;
}

static int load(struct device *dev, struct blob_reader *in)
{
	struct blob_reader section;
	uint32_t version;
	int r;

	if (!blob_enter(in, &section, BLOB_TAG('D', 'E', 'V', ' '), 1, &version))
		return DEVICE_E_BAD_STATE;
	r = mux_load(dev->mux, &section, loop_now_ms(dev->config.loop));
	if (!r)
		r = load_backends(dev, &section);
	return r ? r : blob_is_whole(&section) ? 0 : DEVICE_E_BAD_STATE;
}

int device_load(struct device *dev, struct blob_reader *in)
{
	int r = in ? load(dev, in) : 0;

	if (!r) {
		r = recovery_load(&dev->recovery);
		if (r)
			log_limited(LEVEL_ERR, dev->tag, "its front-end would be lost: %s",
				    journal_str_error(r));
	}
	if (r)
		return r < 0 ? r : DEVICE_E_BAD_STATE;
	dev->is_held = true;
	if (!recovery_is_due(&dev->recovery))
		loop_work_schedule(dev->config.loop, &dev->resume);
	return 0;
}
