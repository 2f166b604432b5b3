"""A checkpoint is one self-contained folder, whole or not there.

    checkpoint_step_<N>/
      config.json            the full resolved configuration
      head.safetensors       the head and the <CONFIDENCE> row
      adapter/ or backbone/  what was trained of the backbone
      tokenizer/             with the <CONFIDENCE> token
      calibration.json       the maps of these weights, where `surestep calibrate` fitted them
      certificate.json       what they promise of new problems, where `surestep certify` found it
      monitor.json           the same of solutions that run; selective.json of those that are handed out
      training_state/        optimiser, random states and data position, for resuming
      manifest.json          sizes, sha256, versions, the pinned backbone, the formatter's hash

Only safetensors and JSON. Written beside its place and renamed into it.
"""
