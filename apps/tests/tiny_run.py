"""The options of a run of seconds, which tests and benchmarks vary."""

TINY = {
    "model.num_slots": 4,
    "model.slot_dim": 16,
    "model.preprocessing.image_size": [32, 32],
    "model.encoder.preprocessing": None,
    "model.encoder.corrector.hidden_dim": 16,
    "model.decoder.channels": [8, 8],
    "model.decoder.broadcast_size": [8, 8],
    "model.decoder.output_stride": 1,
    "data.name": "shapes",
    "data.image_size": 32,
    "data.num_samples": 24,
    "train.num_steps": 8,
    "train.batch_size": 4,
    "train.num_threads": 1,
    "validation.every": 4,
    "validation.num_samples": 6,
    "validation.batch_size": 4,
    "validation.num_pictures": 2,
    "checkpoint.every": 2,
    "log.every": 1,
    "log.curves": False,  # ten small panels take longer to draw than eight steps to train
}
