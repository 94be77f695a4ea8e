"""The shared fine-tuning script: by hand, under the local backend, and in a SageMaker container.

Imports nothing of `tuner` or `reports`. Start with `train.py`.
"""
