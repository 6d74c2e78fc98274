"""Discriminators of GAN training; never part of an exported model."""
