"""Confidence calibration: how often words are right, as a function of confidence features.

    prepared clips -> synthesized speech -> words recognized by the ASR, right or wrong, with their times,
    each with the mean confidence features of the surrounding second -> logistic regression

Every clip is synthesized twice, clean and degraded: prepared clips are sharp and well lit, and the effect of
poor images cannot be learned from them. A streaming model should be calibrated in streaming, where its
features differ for lack of look-ahead. Fit and evaluation share no clip, and no speaker if a set used for
both has several. The ASR's own errors (6 to 12 % on ground truth) count as the model's.
"""
