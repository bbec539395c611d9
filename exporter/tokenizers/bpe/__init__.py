"""Byte-level byte-pair encoding: GPT-2's, RoBERTa's, ModernBERT's."""
