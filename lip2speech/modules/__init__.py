"""Layers shared by front ends, heads, codecs and vocoders."""
