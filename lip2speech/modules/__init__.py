"""Building blocks shared by front ends, codecs and vocoders; each knows tensors only."""
