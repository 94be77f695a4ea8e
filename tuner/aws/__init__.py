"""What a sweep is on AWS: the request, its rules, what is uploaded, what comes back.

`request` and `limits` know AWS only by its published model and make no call; `session`, `upload`
and `jobs` do. boto3 and sagemaker-core are imported where they are used, never at the top.
"""
