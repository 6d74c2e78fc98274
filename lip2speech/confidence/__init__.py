"""Confidence: the probability that a synthesized word is right.

    features.py      Prediction and mouth crops -> a few numbers for each video frame
    calibration.py   those numbers -> a frame's logit, by weights fitted with `lip2speech calibrate`
    tracker.py       logits -> the confidence of each second

The entropy of a classifier alone is over-confident (Guo et al. 2017, "On calibration of modern neural
networks"), and more so the further the input is from the training data (Ovadia et al. 2019, "Can you trust
your model's uncertainty?"), so the sharpness of the mouth crop is a feature too. A model without a
calibration has no
confidence: it is None, never an invented number. Independent of any model or recognizer.
"""
