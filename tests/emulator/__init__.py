"""SageMaker on this machine, for tests: moto's server, and what moto lacks.

`server`     an HTTP endpoint: S3, STS and CloudWatch Logs are moto's, SageMaker is `service`
`service`    tuning and training jobs that move through their states, limits, faults on demand
`tuning`     what stands for AMT: its strategies' points, its stopping rules
`container`  one training job, run by the real sagemaker-training and sagemaker-pytorch-training
             toolkits in a folder laid out like /opt/ml

`python -m tests.emulator` serves it by hand. What it does not show is listed in docs/sagemaker.md.
"""

from tests.emulator.server import Emulator

__all__ = ["Emulator"]
