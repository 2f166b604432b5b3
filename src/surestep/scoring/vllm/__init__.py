"""A checkpoint in the layouts that vLLM's pooling models have; which of them a head and its calibration fit, exactly."""
