"""A checkpoint in the layouts of vLLM's pooling models; which of them hold a head and its calibration exactly."""
